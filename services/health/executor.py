"""Does what the reconciler says: asks the ingester, remembers that on disk first, and follows what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.health.observation import NO_HELP, REPAIR, Attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from services.health.memory import Memory
    from services.health.observation import Day, Observation
    from services.health.probes.asking import Asker, Target
    from services.health.probes.days import Days
    from services.health.reconciler import Action

ASKED = "?"
"""Stands for the name of a job that was asked for: a kill may have come before the answer."""
TIMEOUT_S = 5.0
_ERROR, _JOB = 300, 80


class Executor:
    """Has actions done. For one thread; blocks for an answer of the ingester, at most five seconds each."""

    def __init__(
        self,
        asker: Asker,
        days: Days,
        memory: Memory,
        log: FilteringBoundLogger,
        clock: Callable[[], int],
    ) -> None:
        """Nothing is asked yet; `clock` gives nanoseconds since 1970."""
        self._asker = asker
        self._days = days
        self._memory = memory
        self._log = log
        self._clock = clock

    def do(self, actions: Sequence[Action], ingester: Target) -> None:
        """Ask the ingester for each. That it was asked is on disk before. Raises OSError where that cannot be."""
        for action in actions:
            key = f"{action.op} {action.subject}"
            before = self._memory.now.attempts.get(key)
            tries = before.tries if before is not None and before.goes_on_at(action.seen) else 0
            attempt = Attempt(action.op, action.subject, action.seen, tries + 1, self._clock(), ASKED)
            self._put(key, attempt)
            self._log.info(action.op, subject=action.subject, why=action.why, attempt=attempt.tries)
            answer = self._asker.ask(ingester, action.op, action.args, TIMEOUT_S)
            if answer.value is None:
                self._end(key, attempt, answer.why)
            else:
                self._put(key, replace(attempt, job=str(answer.value.get("job", ASKED))[:_JOB]))

    def follow(self, seen: Observation, ingester: Target | None) -> None:
        """See what became of what was asked for, and forget what has helped."""
        for key, attempt in list(self._memory.now.attempts.items()):
            if attempt.runs and ingester is not None:
                self._ask_about(key, attempt, ingester)
            elif attempt.ended_ns > seen.time_ns:  # the clock was set back: no look is waited for until then
                self._put(key, replace(attempt, ended_ns=seen.time_ns))
            elif not attempt.runs and (helped := _has_helped(attempt, seen)) is not None:
                self._judge(key, attempt, helped=helped)

    def _judge(self, key: str, attempt: Attempt, *, helped: bool) -> None:
        if helped:
            self._log.info(f"{attempt.op}_helped", subject=attempt.subject, attempts=attempt.tries)
            del self._memory.now.attempts[key]
            self._memory.urgent()
        elif not attempt.error:
            self._put(key, replace(attempt, error=NO_HELP))
            self._log.warning(f"{attempt.op}_failed", subject=attempt.subject, why=NO_HELP)

    def _ask_about(self, key: str, attempt: Attempt, ingester: Target) -> None:
        if attempt.job == ASKED:
            self._end(key, attempt, "")
            return
        answer = self._asker.ask(ingester, "seal_status", {"job": attempt.job}, TIMEOUT_S)
        if answer.alive is not True:
            return  # it is down or hangs: its job is either done when it comes back, or unknown to it
        if answer.value is None:
            self._end(key, attempt, answer.why)
        elif answer.value.get("state") in ("done", "failed"):
            self._end(key, attempt, str(answer.value.get("error", "")))

    def _end(self, key: str, attempt: Attempt, error: str) -> None:
        """Note the end of an attempt; a look at its day says whether it helped."""
        self._put(key, replace(attempt, job="", error=error[:_ERROR], ended_ns=self._clock()))
        if error:
            self._log.warning(f"{attempt.op}_failed", subject=attempt.subject, why=error)
        self._days.check_again(attempt.subject.partition("/")[0])

    def _put(self, key: str, attempt: Attempt) -> None:
        """Note an attempt, on disk too; where that cannot be, all stays as it was and OSError is raised."""
        attempts = self._memory.now.attempts
        before = attempts.get(key)
        attempts[key] = attempt
        try:
            self._memory.keep(at_once=True)
        except OSError:
            if before is None:
                del attempts[key]
            else:
                attempts[key] = before
            raise


def _has_helped(attempt: Attempt, seen: Observation) -> bool | None:
    """Whether what was tried is seen to be as it should be; None before a look that ended after it."""
    name, _, part = attempt.subject.partition("/")
    if seen.days is None:
        return None
    day = seen.day(name)
    if day is None:
        return True  # the day has gone
    if attempt.op != REPAIR:
        return not attempt.error  # what dropping or shrinking a day did is seen by what the next plan wants
    return _is_whole(day, part) if day.checked_ns > attempt.ended_ns else None


def _is_whole(day: Day, part: str) -> bool:
    states: Mapping[str, str] = {index.name: index.state for index in day.indices}
    return states[part] == "ok" if part in states else not day.fault
