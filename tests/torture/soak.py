"""Suite `soak`: days that pass quickly, with all that makes time hard, and exact counts at their end.

The parts of the ingester are the real ones, with the schedule that seals days by the clock; models are small. A round
is one day of the clock. Two sensors send around the clock: out of order, twice, an hour to six days late, too late,
from the future, and a recording of years ago. Ids come twice with other content. The wall's clock goes back a second
at midnight, as a leap second makes it do. The ingester ends or is killed in between and starts again.

`APPIA_SOAK_EVENTS` is how many events come in a day. In one process, for the growth of its memory over many days:
`PYTHONPATH=tests python -m torture soak --slice --rounds 30 --seconds 3600`.
"""

from __future__ import annotations

import gc
import hashlib
import os
import resource
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from torture.suite import Outcome, Suite
from torture.workload import DAY_S, Process, World, make_event

from services.common.days.chunk import open_chunk
from services.common.days.chunk_builder import iterate_blocks
from services.common.days.identity import identities
from services.common.days.names import StateNames, day_of, read_pointer
from services.common.days.verify import verify_day
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.system_calls import SystemCalls
from services.ingester.holding import BookKeeper
from services.ingester.jobs_kinds import make_jobs
from services.ingester.sealing_jobs import JobTools
from services.ingester.settings import IngesterSettings

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    from torture.suite import Budget

    from services.ingester.indexer import Finish
    from services.ingester.jobs import Job
    from services.ingester.queue import ByteQueue
    from services.ingester.receiver import Receiver

FIRST_DAY_S = 1_769_040_000  # 2026-01-22T00:00:00Z
EVENTS_A_DAY = int(os.environ.get("APPIA_SOAK_EVENTS", "3000"))
STEPS_A_DAY = 48
STEP_S = DAY_S // STEPS_A_DAY
WEEK_S = 7 * DAY_S
LATEST_S = 6 * DAY_S
EARLY_S = 300
RECORDED_S = FIRST_DAY_S - 400 * DAY_S
QUIET_S = 600.0
REMEMBERED = 512
FLAT_AFTER_DAYS, MOST_KIB_A_DAY = 8, 4096
"""From which day on memory counts, and what it may grow by in a day, over a week at least: by then late events have
come for every day that takes them, and caches are filled."""
_PAGE_KIB = resource.getpagesize() // 1024


@dataclass
class Clock:
    """Seconds that only go on, and what the wall shows, which a leap second moves."""

    now: float = float(FIRST_DAY_S)
    leapt: int = 0

    @property
    def wall(self) -> int:
        """Whole seconds since 1970."""
        return int(self.now) - self.leapt

    def ns(self) -> int:
        """What the ingester is told by the wall."""
        return int((self.now - self.leapt) * 1e9)

    def monotonic(self) -> float:
        """What it is told otherwise."""
        return self.now


class MortalCalls(SystemCalls):
    """The real calls, until the process is killed: nothing is done after that."""

    def __init__(self) -> None:
        """Live."""
        self.is_dead = False

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """See `SystemCalls`."""
        return len(data) if self.is_dead else super().write(fd, data)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """See `SystemCalls`."""
        return len(data) if self.is_dead else super().pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        """See `SystemCalls`."""
        if not self.is_dead:
            super().truncate(fd, size)

    def rename(self, old: Path | str, new: Path | str) -> None:
        """See `SystemCalls`."""
        if not self.is_dead:
            super().rename(old, new)

    def unlink(self, path: Path | str) -> None:
        """See `SystemCalls`."""
        if not self.is_dead:
            super().unlink(path)


@dataclass
class Expected:
    """What a day has to hold: how many events, which (the identities of all, by exclusive or), reused ids."""

    events: int = 0
    sum: int = 0
    reused: int = 0


@dataclass
class Book:
    """What was sent and must have become of it, kept apart from what the ingester says."""

    days: dict[str, Expected] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0

    def take(self, payload: bytes, seconds: int, *, reused: bool = False) -> None:
        """An event that is new."""
        day = self.days.setdefault(day_of(seconds * 1_000_000_000), Expected())
        day.events += 1
        day.sum ^= int.from_bytes(hashlib.sha256(payload).digest()[:16], "little")
        day.reused += reused


class Here:
    """The schedule of the ingester; a day is sealed in this process instead of one of its own."""

    stopped = False

    def __init__(self, process: Process, clock: Clock) -> None:
        """Know no job yet; there is one thread."""
        self._life = process
        settings = IngesterSettings(
            state=process.state.root, keys=process.state.keys, seal_after_quiet_s=QUIET_S
        )
        tools = JobTools(
            process.intake,
            cast("Receiver", self),
            cast("ByteQueue", self),
            process.disk,
            process.signing,
            clock.ns,
            clock.monotonic,
            lambda event, facts: process.reports.append((event, facts)),
            lambda: False,
            BookKeeper(process.state, process.disk),
        )
        self._jobs = make_jobs(process.state, lambda: settings, tools, worker=self)

    @staticmethod
    def call(work: Callable[[], Any]) -> Any:
        """As the receiver does in its thread."""
        return work()

    def put(self, finish: Finish, _size: int) -> None:
        """As the queue to the indexer does."""
        self._life.index()
        self._life.let_go(finish.upto)
        finish.done.set()

    def look(self) -> int:
        """Seal what the clock says is due; gives how many days."""
        sealed = 0
        while self._jobs.work_next():
            sealed += 1
        return sealed

    def run(self, job: Job, *what: str) -> None:
        """As the process of a sealer does."""
        job.report = asdict(self._life.seal_through(job.day, int(what[-1])))

    def give_way(self) -> None:
        """Nothing else is asked for while a day is sealed here."""

    def stop(self) -> None:
        """Nothing runs beside the tests."""


@dataclass
class Sent:
    """An event that was accepted."""

    payload: bytes
    seconds: int


class Sensors:
    """Two sensors: what they send at a moment, with what must become of it noted in the book."""

    def __init__(self, luck: random.Random, clock: Clock, book: Book) -> None:
        """Nothing was sent yet."""
        self._luck, self._clock, self._book = luck, clock, book
        self._number = 0
        self._recent: deque[Sent] = deque(maxlen=REMEMBERED)

    def frames(self) -> Iterator[tuple[list[bytes], bool]]:
        """Frames of one step, and whether each is marked as a backfill."""
        live = [self._new(self._about_now()) for _ in range(EVENTS_A_DAY // STEPS_A_DAY)]
        live += self._again(len(live) // 10) + self._under_an_id_again()
        self._luck.shuffle(live)
        for start in range(0, len(live), 64):
            yield live[start : start + 64], False
        yield self._out_of_time(), False

    def late(self) -> list[bytes]:
        """What a sensor sends that was cut off: an hour to six days old, of two days at most."""
        oldest = self._clock.wall - self._luck.randint(3600, LATEST_S)
        return [self._new(oldest + self._luck.randint(0, 3600)) for _ in range(40)]

    def recording(self) -> list[bytes]:
        """Of years ago, marked as a backfill."""
        return [self._new(RECORDED_S + self._luck.randrange(DAY_S)) for _ in range(40)]

    def _about_now(self) -> int:
        """Within the step before now, or up to five minutes ahead."""
        if self._luck.random() < 0.05:
            return self._clock.wall + self._luck.randint(0, EARLY_S)
        return self._clock.wall - self._luck.randint(0, STEP_S)

    def _new(self, seconds: int) -> bytes:
        self._number += 1
        sensor = "node-" + "ab"[self._number % 2]
        payload = _event(str(self._number // 2), sensor, seconds)  # both number theirs alike
        self._book.take(payload, seconds)
        self._recent.append(Sent(payload, seconds))
        return payload

    def _again(self, count: int) -> list[bytes]:
        """Events that were accepted are sent once more; those that would be too old by now are left."""
        known = [sent for sent in self._recent if sent.seconds >= self._clock.wall - LATEST_S]
        chosen = [self._luck.choice(known).payload for _ in range(count if known else 0)]
        self._book.duplicates += len(chosen)
        return chosen

    def _under_an_id_again(self) -> list[bytes]:
        """An event of the same sensor, second and id with other content."""
        known = self._luck.choice(self._recent)
        if known.seconds < self._clock.wall - LATEST_S:
            return []
        event = NetworkSecurityEvent.FromString(known.payload)
        self._number += 2
        event.network_features.source_port = self._number % 60_000
        event.custom_metadata["twin"] = str(self._number)
        payload = event.SerializeToString(deterministic=True)
        self._book.take(payload, known.seconds, reused=True)
        return [payload]

    def _out_of_time(self) -> list[bytes]:
        """A week and more late, more than five minutes ahead, and a leap second as nanoseconds beyond a second."""
        late = self._clock.wall - WEEK_S - self._luck.randint(1, WEEK_S)
        ahead = self._clock.wall + EARLY_S + self._luck.randint(1, WEEK_S)
        leaping = NetworkSecurityEvent.FromString(make_event(f"leap-{self._number}", self._clock.wall))
        leaping.event_timestamp.nanos = 1_500_000_000
        self._book.refused.update(("too_old", "in_future", "bad_event_timestamp"))
        return [
            make_event(f"late-{self._number}", late),
            make_event(f"ahead-{self._number}", ahead),
            leaping.SerializeToString(),
        ]


def _event(name: str, sensor: str, seconds: int) -> bytes:
    event = NetworkSecurityEvent.FromString(make_event(name, seconds))
    event.originating_node_id = sensor
    event.event_timestamp.nanos = (seconds % 1000) * 1_000_000
    return event.SerializeToString(deterministic=True)


class Soak:
    """Lets days pass."""

    def __init__(self, budget: Budget) -> None:
        """Begin on the day whose number is that of the first round."""
        self.outcome = Outcome()
        self._budget = budget
        self.clock = Clock(float(FIRST_DAY_S + budget.first * DAY_S))
        names = StateNames(budget.folder / "state")
        self.world = World(names, clock=self.clock.ns, monotonic=self.clock.monotonic)
        self.book = Book()
        self._luck = budget.random(budget.first)
        self._sensors = Sensors(self._luck, self.clock, self.book)
        self._accepted = self._duplicates = 0
        self._refused: Counter[str] = Counter()
        self._days = 0
        self._kib: list[int] = []
        self._begin()

    def _begin(self) -> None:
        self._calls = MortalCalls()
        self._process = Process(self.world, self._calls)
        self._jobs = Here(self._process, self.clock)

    def day(self) -> None:
        """One day passes."""
        for step in range(STEPS_A_DAY):
            self.clock.now += STEP_S
            if step == STEPS_A_DAY - 1 and self._days % 3 == 0:
                self.clock.leapt += 1  # midnight's first second comes twice
            for frame, is_backfill in self._sensors.frames():
                self._take(frame, backfill=is_backfill)
            if step == STEPS_A_DAY // 2:
                self._take(self._sensors.late(), backfill=False)
                self._take(self._sensors.recording() if self._days == 0 else [], backfill=True)
            self._process.index()
            if self._luck.random() < 3 / STEPS_A_DAY:
                self._start_again()
            self.outcome.count("sealed", self._jobs.look())
        self._days += 1
        gc.collect()
        self._kib.append(_resident_kib())

    def _take(self, payloads: Sequence[bytes], *, backfill: bool) -> None:
        verdict = self._process.intake.add(payloads, backfill=backfill, origin="soak")
        self._process.logged += self._process.intake.commit()
        self._accepted += verdict.accepted
        self._duplicates += verdict.duplicates
        self._refused += verdict.refused

    def _start_again(self) -> None:
        if self._luck.random() < 0.5:
            self._calls.is_dead = True
            self.outcome.count("kills")
        else:
            self.outcome.count("ends")
        self._process.kill()
        self._begin()

    def close(self) -> list[str]:
        """Let the last days become quiet and be sealed; gives what is wrong."""
        for _ in range(3):
            self.clock.now += DAY_S
            self.outcome.count("sealed", self._jobs.look())
        self._process.end()
        return [
            *self._counts(),
            *self._memory(),
            *(fault for day in self._named() for fault in self._look_at(day)),
        ]

    def _counts(self) -> Iterator[str]:
        sent = sum(day.events for day in self.book.days.values())
        self.outcome.count("events", sent)
        self.outcome.count("duplicates", self.book.duplicates)
        self.outcome.count("refused", self.book.refused.total())
        pairs = (
            ("accepted", self._accepted, sent),
            ("known before", self._duplicates, self.book.duplicates),
            ("refused", dict(self._refused), dict(self.book.refused)),
        )
        for name, found, wanted in pairs:
            if found != wanted:
                yield f"{name}: {found} instead of {wanted}"

    def _memory(self) -> Iterator[str]:
        steady = self._kib[FLAT_AFTER_DAYS - 1 :]
        growth = (steady[-1] - steady[0]) // (len(steady) - 1) if len(steady) > 1 else 0
        self.outcome.count("KiB more a day", max(growth, 0))
        self.outcome.count("MiB at the end", self._kib[-1] // 1024)
        if growth > MOST_KIB_A_DAY and len(steady) > FLAT_AFTER_DAYS:
            yield f"memory grows by {growth} KiB a day: {self._kib}"

    def _named(self) -> list[str]:
        return sorted({*self.book.days, *self.world.state.days()})

    def _look_at(self, day: str) -> Iterator[str]:
        """Each day is sealed, whole, sorted, and holds exactly what was accepted for it."""
        names, wanted = self.world.state.day(day), self.book.days.get(day, Expected())
        current = read_pointer(names.current)
        if current is None or names.segments():
            yield f"{day} is over and quiet, and not sealed: segments {names.segments()}"
            return
        self.outcome.count("days")
        self.outcome.count("generations", current)
        yield from (f"{day}: {fault}" for fault in verify_day(names).faults)
        chunk = open_chunk(names.generation(current).chunk)
        found = Expected(chunk.rows, reused=int(chunk.manifest.facts["reused_ids"]))
        for events in iterate_blocks(chunk):
            for identity in identities(events):
                found.sum ^= int.from_bytes(identity.tobytes(), "little")
        if found != wanted:
            yield f"{day} holds {found} instead of {wanted}"
        if (np.diff(np.asarray(chunk.columns["time_ns"])) < 0).any():
            yield f"{day} is not sorted by time"
        chunk.log.close()


def _resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE_KIB


def run(budget: Budget) -> Outcome:
    """Let the days of a budget pass, then look at each."""
    soak = Soak(budget)
    for _ in budget.numbers(soak.outcome):
        soak.day()
        soak.outcome.rounds += 1
    for sentence in soak.close():
        soak.outcome.fault(budget.first, f"{soak.outcome.rounds} days: {sentence}")
    return soak.outcome


SUITE = Suite(
    "soak",
    "days end with exact counts, whatever comes late, twice or out of time, and memory stays flat",
    "days",
    ci_rounds=3,
    full_rounds=30,
    run=run,
)
