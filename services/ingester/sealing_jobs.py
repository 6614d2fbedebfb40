"""Which day is sealed when: on request, when it is over and quiet, and again later where an index failed.

Making an index anew, and serving one or another version of it, take turns with it: one thread does all of them, so
nobody changes a day while it is sealed.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections import OrderedDict, deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from services.common.chain.store import NoLinks
from services.common.days.adopting import adopt, sign_removal
from services.common.days.names import INDICES, day_of, day_start_ns, parse_day, read_pointer
from services.common.days.policies import tell_policies
from services.common.days.versions import activate, roll_back, served_generation
from services.common.errors import AppiaError, UsageError
from services.ingester.indexer import Finish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.days.adopting import Signed
    from services.common.days.names import StateNames
    from services.common.days.versions import Switch
    from services.common.durable import Disk
    from services.ingester.intake import Intake, SegmentKey
    from services.ingester.queue import ByteQueue
    from services.ingester.receiver import Receiver
    from services.ingester.settings import IngesterSettings
    from services.ingester.signing import Signing

_JOBS_KEPT = 256
_LOOK_EVERY_S = 1.0
_FIRST_RETRY_S, _LONGEST_RETRY_S = 30.0, 3600.0
_NS = 1_000_000_000


SEAL, REINDEX, ACTIVATE, ROLL_BACK = "seal", "reindex", "activate", "rollback"
ADOPT, SIGN_REMOVAL = "adopt", "sign_removal"
_SWITCHES = {ACTIVATE: activate, ROLL_BACK: roll_back}
_SIGNATURES = {ADOPT: adopt, SIGN_REMOVAL: sign_removal}


@dataclass
class Job:
    """One piece of work on a day, as a client may ask about it."""

    job: str
    day: str
    kind: str = SEAL
    index: str = ""  # where the work is on one
    state: str = "queued"  # queued, running, done, failed
    step: str = ""
    done: int = 0
    total: int = 0
    report: dict[str, Any] | None = None
    error: str = ""


@dataclass
class _Retry:
    not_before: float = 0.0
    pause_s: float = _FIRST_RETRY_S


@dataclass(frozen=True)
class SealingTools:
    """What the work on days needs."""

    intake: Intake
    receiver: Receiver
    indexing: ByteQueue
    disk: Disk
    signing: Signing
    clock: Callable[[], int]  # nanoseconds since 1970
    monotonic: Callable[[], float]
    report: Callable[[str, dict[str, Any]], None]


class SealingJobs:
    """Runs one sealer process at a time. `run` is the body of its thread; the other methods are for any thread."""

    def __init__(self, state: StateNames, settings: IngesterSettings, tools: SealingTools) -> None:
        """Know no job yet."""
        self._state = state
        self._settings = settings
        self._tools = tools
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: deque[Job] = deque()
        self._numbers = itertools.count(1)
        self._wake = threading.Condition()
        self._stopped = False
        self._retries: dict[str, _Retry] = {}
        self._process: subprocess.Popen[str] | None = None
        self._head: dict[str, str | int] = {}
        self._began_s = tools.monotonic()

    def request(self, day: str) -> str:
        """Queue the sealing of a day and give the job's name; a day that waits already keeps its job.

        Raises:
            UsageError: `day` is no day.
            AppiaError: there is nothing to seal.
        """
        day = parse_day(day)
        names = self._state.day(day)
        if not names.segments():
            sealed = read_pointer(names.current) is not None
            what = "is sealed already and has no new events" if sealed else "has no events"
            raise AppiaError(f"Day {day} {what}; `appia days` shows the days there are.")
        with self._wake:
            waiting = next((job for job in self._waiting if (job.kind, job.day) == (SEAL, day)), None)
            if waiting is None:
                waiting = self._add(Job(f"seal-{next(self._numbers)}", day))
            self._wake.notify_all()
            return waiting.job

    def request_index(self, kind: str, day: str, index: str) -> str:
        """Queue work on one index of a sealed day (`REINDEX`, `ACTIVATE` or `ROLL_BACK`) and give the job's name.

        The same work that waits or is being done keeps its job.

        Raises:
            UsageError: `day` is no day, `index` no index.
            AppiaError: the day is not sealed.
        """
        day = parse_day(day)
        if index not in INDICES:
            raise UsageError(f"There is no index {index[:80]!r}; there are: {', '.join(INDICES)}.")
        served_generation(self._state.day(day))
        with self._wake:
            wanted = (kind, day, index)
            known = [job for job in self._jobs.values() if (job.kind, job.day, job.index) == wanted]
            under_way = next((job for job in known if job.state in ("queued", "running")), None)
            job = under_way or self._add(Job(f"{kind}-{next(self._numbers)}", day, kind, index))
            self._wake.notify_all()
            return job.job

    def request_signature(self, kind: str, day: str) -> str:
        """Queue the signing of a day as it is (`ADOPT`) or as gone (`SIGN_REMOVAL`) and give the job's name.

        Raises:
            UsageError: `day` is no day.
        """
        day = parse_day(day)
        with self._wake:
            job = self._add(Job(f"{kind}-{next(self._numbers)}", day, kind))
            self._wake.notify_all()
            return job.job

    def status(self, job: str) -> dict[str, Any]:
        """How a job is doing, as plain values.

        Raises:
            AppiaError: there is no such job.
        """
        with self._wake:
            found = self._jobs.get(job)
            if found is None:
                raise AppiaError(f"There is no job {job!r}: it is of an ingester before, or too long ago.")
            return asdict(found)

    def run(self) -> None:
        """Seal what is asked for and what is due, until stopped."""
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._stopped, _LOOK_EVERY_S)
                if self._stopped:
                    return
                job = self._waiting.popleft() if self._waiting else None
            if job is None:
                self._look()
            elif job.kind == SEAL:
                self._seal(job)
            else:
                self._work_on_sealed(job)

    def stop(self) -> None:
        """End `run`; a sealing that is going on is broken off, and nothing of it is published."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()
            process = self._process
        if process is not None:
            process.terminate()

    def _add(self, job: Job) -> Job:
        self._jobs[job.job] = job
        self._waiting.append(job)
        while len(self._jobs) > _JOBS_KEPT:
            self._jobs.popitem(last=False)
        return job

    def _look(self) -> None:
        """Queue what the schedule wants: past days that are quiet, and indices that could not be built."""
        today = day_of(self._tools.clock())
        for day in self._state.days():
            retry = self._retries.setdefault(day, _Retry())
            if self._tools.monotonic() < retry.not_before:
                continue
            try:
                self._look_at(day, is_over=day < today)
            except AppiaError as error:  # one damaged day must not end the sealing of the others
                self._note_outcome(Job("", day, error=str(error)), failed=True)

    def _look_at(self, day: str, *, is_over: bool) -> None:
        if self._state.day(day).segments():
            if is_over and self._is_quiet(day):
                self.request(day)
        elif self._lacks_index(day):
            self._work(Job("", day), None)

    def _is_quiet(self, day: str) -> bool:
        """Whether no event came for the setting's time, by this run's clock or by the log's last write before it."""
        limit_s = self._settings.seal_after_quiet_s
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

    def _seal(self, job: Job) -> None:
        try:
            upto: SegmentKey | None = self._tools.receiver.call(lambda: self._tools.intake.rotate(job.day))
        except AppiaError as error:
            job.state, job.error = "failed", str(error)
            self._note_outcome(job, failed=True)
            return
        if upto is None:
            job.state, job.error = "failed", f"Day {job.day} has no open events any more."
            return
        finish = Finish(upto, threading.Event())
        self._tools.indexing.put(finish, 0)
        while not finish.done.wait(0.2):
            if self._stopped:
                return
        self._work(job, upto.number)

    def _work_on_sealed(self, job: Job) -> None:
        if job.kind == REINDEX:
            self._run_sealer(job, "--reindex", job.index)
        else:
            job.state = "running"
            try:
                job.report = asdict(self._change(job))
            except (AppiaError, OSError) as error:
                job.error = str(error)
            job.state = "failed" if job.error else "done"
        event = f"{job.kind}_failed" if job.error else f"{job.kind}_done"
        facts = {"day": job.day, "index": job.index, **(job.report or {})}
        self._tools.report(event, {**facts, "error": job.error} if job.error else facts)
        self._tell_head()

    def _change(self, job: Job) -> Switch | Signed:
        """Do what needs no process of its own."""
        names, links = self._state.day(job.day), self._tools.signing.links()
        if job.kind in _SWITCHES:
            return _SWITCHES[job.kind](names, job.index, self._tools.disk, links)
        if isinstance(links, NoLinks):
            raise AppiaError(
                "There is no signing key: `appia keys signing DIR` makes one, DIR being the keys folder."
            )
        return _SIGNATURES[job.kind](names, links)

    def _tell_head(self) -> None:
        """Log the head of the chain when it is another: noted elsewhere, it shows when the end is cut off."""
        head = self._tools.signing.head()
        if head and head != self._head:
            self._head = head
            self._tools.report("chain_head", head)

    def _work(self, job: Job, through: int | None) -> None:
        self._run_sealer(job, *(() if through is None else ("--through", str(through))))
        failed = job.error or (job.report or {}).get("failed")
        self._note_outcome(job, failed=bool(failed))

    def _run_sealer(self, job: Job, *what: str) -> None:
        """Run the sealer process and follow its lines; blocks until it ends."""
        job.state = "running"
        command = _sealer_command(self._state.root, self._settings, job.day)
        command += what
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            self._process = process
            for line in process.stdout or ():
                _follow(job, line)
        self._process = None
        if job.report is None and not job.error:
            job.error = f"The sealer of {job.day} ended with status {process.returncode} without a word."
        job.state = "failed" if job.error else "done"

    def _note_outcome(self, job: Job, *, failed: bool) -> None:
        if not failed:
            self._retries.pop(job.day, None)
            self._tools.receiver.call(lambda: self._tools.intake.forget(job.day))
            self._tools.report("day_sealed", {"day": job.day, **(job.report or {})})
            self._tell_head()
            return
        retry = self._retries.setdefault(job.day, _Retry())
        retry.not_before = self._tools.monotonic() + retry.pause_s
        retry.pause_s = min(2 * retry.pause_s, _LONGEST_RETRY_S)
        self._tools.report("sealing_failed", {"day": job.day, "error": job.error, **(job.report or {})})


def _sealer_command(state: Path, settings: IngesterSettings, day: str) -> list[str]:
    """What starts a sealer that ends with this process."""
    given = {
        "--state": state,
        "--day": day,
        "--keys": settings.keys,
        "--compression": settings.compression,
        "--policies": tell_policies(settings.policies),
        "--threads": settings.model_threads,
        "--semantic-model": settings.semantic_model,
        "--temporal-model": settings.temporal_model,
        "--storage-key": settings.storage_key,
    }
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    if settings.require_encryption:
        options.append("--require-encryption")
    launched = (sys.executable, "-P", "-m", "services.common.launcher", str(os.getpid()))
    return [*launched, "services.ingester.sealer", *options]


def _follow(job: Job, line: str) -> None:
    try:
        said = json.loads(line)
    except ValueError:
        return
    if "step" in said:
        job.step, job.done, job.total = said["step"], said["done"], said["total"]
    job.report = said.get("report", job.report)
    job.error = said.get("error", job.error)
