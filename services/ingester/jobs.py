"""Work on days, job by job: one thread does all of it, so nobody changes a day while another does.

Which kinds of work there are is a table (`jobs_kinds.py`). Each kind says what it may be asked for and how it is done.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from services.common.days.names import parse_day
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from services.ingester.signing import Signing

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
WAITS_FOR_INTAKE = "waits for the intake"
"""The step of a job that yields, while it does."""

_JOBS_KEPT = 256
_LOOK_EVERY_S = 1.0


class BrokenOff(AppiaError):  # noqa: N818 - it names what happened to a job, not a fault
    """A job gives way to one that does not yield; it is done again from its beginning."""


@dataclass
class Job:
    """One piece of work on a day, as a client may ask about it."""

    job: str
    day: str
    kind: str
    args: Mapping[str, Any] = field(default_factory=dict)  # what else was asked for, as its kind checked it
    state: str = QUEUED
    step: str = ""
    done: int = 0
    total: int = 0
    report: dict[str, Any] | None = None
    error: str = ""

    @property
    def index(self) -> str:
        """The index that it is about; empty where it is about none."""
        return str(self.args.get("index", ""))

    def as_plain(self) -> dict[str, Any]:
        """The job as plain values."""
        return {**asdict(self), "index": self.index}


@dataclass(frozen=True)
class Kind:
    """A kind of work. What it is called is also the operation with which it is asked for."""

    name: str
    check: Callable[[str, Mapping[str, Any]], dict[str, Any]]
    """From a day and what was asked to the arguments of the job; raises `UsageError` or `AppiaError`."""
    work: Callable[[Job], None]
    """Does it, and leaves step and report in the job; blocks; raises `AppiaError` (also `BrokenOff`) or `OSError`."""
    ended: Callable[[Job], None]
    """Tells the log how a job ended."""
    yields: bool = False
    """Whether it is begun only while the intake is not behind, and gives way to what does not yield."""
    joins_running: bool = True
    """Whether who asks for what is being done already gets that job; one that waits is always joined. Where not, `work`
    itself sets the job running once it has taken what it works on."""


@dataclass(frozen=True)
class Surroundings:
    """What the thread has to know of the rest of the ingester."""

    due: Callable[[], Iterable[tuple[str, str]]]  # kind and day of what the schedule wants; blocks
    is_behind: Callable[[], bool]  # whether the intake needs the machine for itself
    give_way: Callable[[], None]  # ends the process that works on a job, which raises `BrokenOff` then
    break_off: Callable[[], None]  # the same for good: no other is started
    signing: Signing
    report: Callable[[str, dict[str, Any]], None]


class Jobs:
    """The queue and its thread. `run` is the body of the thread; the other methods are for any thread."""

    def __init__(self, kinds: Iterable[Kind], around: Surroundings) -> None:
        """Know no job yet."""
        self._kinds = {kind.name: kind for kind in kinds}
        self._around = around
        self._jobs: dict[str, Job] = {}  # the oldest first
        self._waiting: list[Job] = []
        self._numbers = itertools.count(1)
        self._wake = threading.Condition()  # guards what stands above, and the jobs themselves
        self._yielding: Job | None = None  # what is being done, where it yields; set by the thread alone
        self._stopped = False
        self._asked = False  # since the last look
        self._head: dict[str, str | int] = {}
        self.outcomes: Counter[tuple[str, str]] = Counter()  # by kind and state; for any thread

    @property
    def kinds(self) -> tuple[str, ...]:
        """What can be asked for."""
        return tuple(self._kinds)

    def request(self, kind: str, args: Mapping[str, Any]) -> str:
        """Queue the work on the day that `args` name, and give the job's name; the same work that waits keeps its job.

        Raises:
            UsageError: an argument is wrong.
            AppiaError: there is nothing to do it with.
        """
        day = parse_day(str(args.get("day", "")))
        return self._add(kind, day, self._kinds[kind].check(day, args)).job

    def status(self, job: str) -> dict[str, Any]:
        """How a job is doing, as plain values.

        Raises:
            AppiaError: there is no such job.
        """
        with self._wake:
            found = self._jobs.get(job)
            if found is None:
                raise AppiaError(f"There is no job {job!r}: it is of an ingester before, or too long ago.")
            return found.as_plain()

    def run(self) -> None:
        """Do what is asked for and what is due, until stopped."""
        while not self._stopped:
            self._asked = False
            if not self.work_next():
                with self._wake:
                    self._wake.wait_for(lambda: self._stopped or self._asked, _LOOK_EVERY_S)

    def stop(self) -> None:
        """End `run`; work that is going on is broken off, and nothing of it is published."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()
        self._around.break_off()

    def work_next(self) -> bool:
        """Do one job, of what was asked for or is due now; False where none may begin. Blocks until it ends."""
        job = self._take(with_yielding=False)
        if job is None:
            for kind, day in self._around.due():
                self._add(kind, day, {})
            job = self._take(with_yielding=not self._around.is_behind())
        if job is None:
            return False
        self._do(job)
        return True

    def _add(self, kind: str, day: str, args: Mapping[str, Any]) -> Job:
        with self._wake:
            states = (QUEUED, RUNNING) if self._kinds[kind].joins_running else (QUEUED,)
            alike = [job for job in self._jobs.values() if (job.kind, job.day, job.args) == (kind, day, args)]
            job = next((job for job in alike if job.state in states), None)
            if job is None:
                job = Job(f"{kind}-{next(self._numbers)}", day, kind, args)
                self._jobs[job.job] = job
                self._waiting.append(job)
                self._forget_old()
            self._asked = True
            self._wake.notify_all()
            is_held_up = self._yielding is not None and job in self._waiting and not self._kinds[kind].yields
        if is_held_up:
            self._around.give_way()
        return job

    def _forget_old(self) -> None:
        """Keep the newest jobs, and of those before the ones that have not ended."""
        over = len(self._jobs) - _JOBS_KEPT
        ended = [name for name, job in self._jobs.items() if job.state in {DONE, FAILED}]
        for name in ended[: max(over, 0)]:
            del self._jobs[name]

    def _take(self, *, with_yielding: bool) -> Job | None:
        """The job that has waited longest; those that yield come after all others."""
        with self._wake:
            urgent = [job for job in self._waiting if not self._kinds[job.kind].yields]
            yielding = [job for job in self._waiting if self._kinds[job.kind].yields]
            for one in yielding:
                one.step = "" if with_yielding else WAITS_FOR_INTAKE
            job = next(iter([*urgent, *(yielding if with_yielding else ())]), None)
            if job is not None:
                self._waiting.remove(job)
            return job

    def _do(self, job: Job) -> None:
        kind = self._kinds[job.kind]
        if kind.joins_running:
            job.state = RUNNING
        self._yielding = job if kind.yields else None
        try:
            kind.work(job)
        except BrokenOff:
            self._put_back(job)
            return
        except (AppiaError, OSError) as error:
            job.error = str(error)
        finally:
            self._yielding = None
        job.state = FAILED if job.error else DONE
        self.outcomes[job.kind, job.state] += 1
        kind.ended(job)
        self._tell_head()

    def _put_back(self, job: Job) -> None:
        with self._wake:
            job.state, job.step, job.done, job.total = QUEUED, "", 0, 0
            self._waiting.insert(0, job)
        self._around.report("job_put_off", {"job": job.job, "day": job.day, **job.args})

    def _tell_head(self) -> None:
        """Log the head of the chain when it is another: noted elsewhere, it shows when the end is cut off."""
        head = self._around.signing.head()
        if head and head != self._head:
            self._head = head
            self._around.report("chain_head", head)
