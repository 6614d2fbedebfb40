"""What to do about what is seen: a pure function, without a clock, a file or a service.

Only days are repaired, dropped and made smaller here. Processes are started again by who supervises them (`appia up`,
systemd), and everything else is for people, who are told by alerts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from services.health.observation import OK, REPAIR
from services.health.retention import Drop, Repack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.health.observation import Attempt, Day, Observation

CHUNK = "chunk"
"""The part of a day that its indices are made from: what is wrong with it is repaired before them."""


@dataclass(frozen=True)
class Desired:
    """How things should be, and what may be done for it.

    Attributes:
        parts: the indices that may be repaired; the chunk may wherever one of them may.
        first_retry_s: the pause after a first failure, doubled after each further one.
        longest_retry_s: the longest pause.
        tries: so many failures in a row end the attempts, until what is wrong is something else.
        stop_percent: nothing is begun while a disk is as full.
        most_lag_rows: nothing is begun while an index has more rows of the intake to take.
    """

    parts: frozenset[str] = frozenset({"attack", "semantic", "temporal", "entity"})
    first_retry_s: float = 300.0
    longest_retry_s: float = 86_400.0
    tries: int = 5
    stop_percent: float = 90.0
    most_lag_rows: int = 10_000

    def pause_s(self, failures: int) -> float:
        """How long nothing is tried after so many failures in a row, from 1."""
        return min(self.first_retry_s * 2.0 ** min(failures - 1, 64), self.longest_retry_s)


@dataclass(frozen=True)
class Repair:
    """Make a part of a sealed day (an index, or the chunk) anew from the day's events.

    `seen` is what is wrong, the same text as long as it is the same; `why` is a sentence about it for people.
    """

    day: str
    part: str
    seen: str
    why: str

    @property
    def op(self) -> str:
        """The operation of the ingester that does it."""
        return "repair"

    @property
    def subject(self) -> str:
        """What it is about."""
        return f"{self.day}/{self.part}"

    @property
    def args(self) -> Mapping[str, str]:
        """The arguments of the operation."""
        return {"day": self.day, "index": self.part}


Action: TypeAlias = Repair | Drop | Repack
"""What can be done: each names an operation of the ingester, its arguments, its subject, what was seen, and why."""


def reconcile(desired: Desired, seen: Observation) -> tuple[Action, ...]:
    """What is to be done now: nothing or one thing, because one is done at a time.

    Days that have to go come first, the oldest before the others: that makes room. Then repairs, newest day first, and
    then what makes old days smaller. The same observation leads to the same action; what was tried is in it
    (`Observation.attempts`).
    """
    if any(one.runs for one in seen.attempts):
        return ()
    attempts = {(one.op, one.subject): one for one in seen.attempts}
    for action in _wanted_now(desired, seen):
        if _may(desired, attempts.get((action.op, action.subject)), action, seen.time_ns):
            return (action,)
    return ()


def _wanted_now(desired: Desired, seen: Observation) -> Iterator[Action]:
    kept = seen.retention
    if kept is not None and seen.intake is not None:
        yield from kept.drops
    if not _has_room(desired, seen):
        return
    for day in sorted(seen.days or (), key=lambda one: one.day, reverse=True):
        if desired.parts and not day.held:
            yield from _wanted(desired, day)
    if kept is not None:
        yield from kept.repacks


def _has_room(desired: Desired, seen: Observation) -> bool:
    """Whether the ingester can do more than take events in, and the disks can hold more; no, where that is unknown."""
    intake = seen.intake
    if intake is None or intake.paused or intake.index_lag_rows > desired.most_lag_rows:
        return False
    return bool(seen.disks) and all(disk.used_percent < desired.stop_percent for disk in seen.disks)


def _wanted(desired: Desired, day: Day) -> Iterator[Repair]:
    """What is wrong with a day and can be made good from its own events; where that is the chunk, it comes first.

    A day whose pointer is damaged is not served, so it does not count as sealed; what it points to can be told.
    """
    if day.fault:
        if day.repairable:
            yield Repair(day.day, CHUNK, f"generation {day.generation}", day.fault)
        return
    if not day.sealed:
        return
    for index in day.indices:
        if index.name in desired.parts and index.state != OK and index.remedy == REPAIR:
            where = f"{index.state} in generation {day.generation}, version {index.version}"
            yield Repair(day.day, index.name, where, index.why)


def _may(desired: Desired, before: Attempt | None, action: Action, now_ns: int) -> bool:
    """Whether an action is due: never tried, or long enough ago and not too often."""
    if before is None:
        return True
    is_same = before.goes_on_at(action.seen)
    if is_same and before.tries >= desired.tries:
        return False
    pause_s = desired.pause_s(before.tries if is_same else 1)
    # A clock that was set back must not hold a repair up for as long.
    return not 0 <= now_ns - before.last_ns < pause_s * 1e9
