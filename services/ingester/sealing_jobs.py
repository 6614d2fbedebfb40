"""Which day is sealed when: on request, when it is over and quiet, and again later where an index failed."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.days.names import INDICES, day_of, day_start_ns, read_pointer
from services.common.errors import AppiaError
from services.ingester.indexer import Finish
from services.ingester.jobs import RUNNING, Job, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from services.common.days.names import StateNames
    from services.common.durable import Disk
    from services.ingester.holding import BookKeeper
    from services.ingester.intake import Intake, SegmentKey
    from services.ingester.jobs_process import Worker
    from services.ingester.queue import ByteQueue
    from services.ingester.receiver import Receiver
    from services.ingester.settings import IngesterSettings
    from services.ingester.signing import Signing

SEAL = "seal"
_FIRST_RETRY_S, _LONGEST_RETRY_S = 30.0, 3600.0
_NS = 1_000_000_000


@dataclass
class _Retry:
    not_before: float = 0.0
    pause_s: float = _FIRST_RETRY_S


@dataclass(frozen=True)
class JobTools:
    """What the work on days needs."""

    intake: Intake
    receiver: Receiver
    indexing: ByteQueue
    disk: Disk
    signing: Signing
    clock: Callable[[], int]  # nanoseconds since 1970
    monotonic: Callable[[], float]
    report: Callable[[str, dict[str, Any]], None]
    is_behind: Callable[[], bool]  # whether the intake needs the machine for itself
    keeper: BookKeeper


class Sealing:
    """Seals days. `due` and the kind's work are for the thread of the jobs, its check for any."""

    def __init__(
        self, state: StateNames, settings: Callable[[], IngesterSettings], tools: JobTools, worker: Worker
    ) -> None:
        """Know no day yet."""
        self._state, self._settings = state, settings
        self._tools, self._worker = tools, worker
        self._retries: dict[str, _Retry] = {}
        self._began_s = tools.monotonic()

    def kind(self) -> Kind:
        """Sealing, as a kind of work. What comes meanwhile is for the next time, so no running job is joined."""
        return Kind(SEAL, self._check, self._work, self._note_outcome, joins_running=False)

    def due(self) -> Iterator[tuple[str, str]]:
        """What the schedule wants: past days that are quiet, and days of which indices could not be built."""
        today = day_of(self._tools.clock())
        for day in self._state.days():
            retry = self._retries.setdefault(day, _Retry())
            if self._tools.monotonic() < retry.not_before:
                continue
            try:
                if self._is_due(day, is_over=day < today):
                    yield SEAL, day
            except AppiaError as error:  # one damaged day must not end the sealing of the others
                self._note_outcome(Job("", day, SEAL, error=str(error)))

    def _check(self, day: str, _args: Mapping[str, Any]) -> dict[str, Any]:
        names = self._state.day(day)
        if not names.segments():
            sealed = read_pointer(names.current) is not None
            what = "is sealed already and has no new events" if sealed else "has no events"
            raise AppiaError(f"Day {day} {what}; `appia days` shows the days there are.")
        return {}

    def _is_due(self, day: str, *, is_over: bool) -> bool:
        if self._state.day(day).segments():
            return is_over and self._is_quiet(day)
        return self._lacks_index(day)

    def _is_quiet(self, day: str) -> bool:
        """Whether no event came for the setting's time, by this run's clock or by the log's last write before it."""
        limit_s = self._settings().seal_after_quiet_s
        quiet_s = self._tools.receiver.call(lambda: self._tools.intake.quiet_s(day))
        if quiet_s is not None:
            return bool(quiet_s >= limit_s)
        names = self._state.day(day)
        writes = [
            segment.log(log).stat().st_mtime_ns
            for segment in map(names.segment, names.segments())
            for log in segment.logs()
        ]
        now = self._tools.clock()
        over_s = (now - day_start_ns(day)) / _NS - 86_400
        # A write of the future says that the clock was set back: such a day is quiet since this run began.
        since_s = self._tools.monotonic() - self._began_s
        quiets = ((now - write) / _NS if write <= now else since_s for write in writes)
        return min((over_s, *quiets)) >= limit_s

    def _lacks_index(self, day: str) -> bool:
        names = self._state.day(day)
        current = read_pointer(names.current)
        if current is None:
            return False
        generation = names.generation(current)
        return any(read_pointer(generation.index_current(name)) is None for name in INDICES)

    def _work(self, job: Job) -> None:
        if not self._state.day(job.day).segments():
            job.state = RUNNING
            self._worker.run(job)  # builds what the sealed day lacks
            return
        upto: SegmentKey | None = self._tools.receiver.call(lambda: self._tools.intake.rotate(job.day))
        if upto is None:
            raise AppiaError(f"Day {job.day} has no open events any more.")
        finish = Finish(upto, threading.Event())
        self._tools.indexing.put(finish, 0)
        while not finish.done.wait(0.2):
            if self._worker.stopped:
                raise AppiaError("The ingester is being stopped.")
        job.state = RUNNING
        self._worker.run(job, "--through", str(upto.number))

    def _note_outcome(self, job: Job) -> None:
        facts = {"day": job.day, **(job.report or {})}
        if not job.error and not (job.report or {}).get("failed"):
            self._retries.pop(job.day, None)
            self._tools.receiver.call(lambda: self._tools.intake.forget(job.day))
            self._tools.report("day_sealed", facts)
            return
        retry = self._retries.setdefault(job.day, _Retry())
        retry.not_before = self._tools.monotonic() + retry.pause_s
        retry.pause_s = min(2 * retry.pause_s, _LONGEST_RETRY_S)
        self._tools.report("sealing_failed", {**facts, "error": job.error})
