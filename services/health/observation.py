"""What health sees at one moment: plain immutable data, made by the observer and read by everybody else.

Nothing here is computed from a clock or a file: the times are in the data, so that the same observation always leads to
the same actions and readings. What could not be seen is None, which is never the same as bad.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.health.retention import Drop, Repack

NOTHING: Mapping[str, float] = MappingProxyType({})

OK, MISSING, STALE, CORRUPT = "ok", "missing", "stale", "corrupt"
"""States of an index of a sealed day."""

REPAIR, REINDEX, BACKUP = "repair", "reindex", "backup"
"""What helps: the day's own events, `appia reindex` after a look at how answers change, or a backup only."""


@dataclass(frozen=True)
class Disk:
    """A file system that files of the state directory lie on.

    Attributes:
        path: the folder that was looked at.
        total_bytes, free_bytes: of the file system; what is kept for root counts as used.
        used_percent: of the bytes, 0 to 100.
        inode_used_percent: of the inodes, 0 to 100; 0 where the file system has no fixed number of them.
        grows_bytes_per_s: the median of what the samples kept show; None while there are too few.
        days_left: until it is full at this growth; None where it does not grow, or that is too far ahead to be told.
    """

    path: str
    total_bytes: int
    free_bytes: int
    used_percent: float
    inode_used_percent: float
    grows_bytes_per_s: float | None = None
    days_left: float | None = None


@dataclass(frozen=True)
class Service:
    """One process that should run, by its kind and name in the registry.

    Attributes:
        kind, name: as in the registry, such as "rag" and "rag-1".
        address: where it answers; empty where that was never known.
        answers: whether it answered just now; None where nobody could ask it.
        why: the reason where it did not answer, or is not ready.
        down_s: since when it does not answer, seconds; 0 while it does.
        restarts: how often another process took its place within the last day, while health ran.
        ready: what it says of itself; None where it does not answer or does not say.
        clock_offset_s: its clock less this one's, seconds, right to half of the round trip; None where unknown.
        rows, newest_generation: what it serves, as it says; None where it does not say.
        rows_behind, generations_behind: a replica's lag behind the files; None for others and where unknown.
        config_revision: the revision of the live configuration that it runs by; None where it does not say.
        config_fault: why it refused a newer one; empty where it did not.
        rss_bytes: resident memory; None on other machines.
        behind_s: of a mirror, and of an origin that publishes: for how long its copy has lacked something, seconds;
            None for others and where unknown.
        fault: why it cannot copy; empty where it can.
        days_not_held: days of the source that are not there, of a mirror and of a replica that reads from one.
    """

    kind: str
    name: str
    address: str = ""
    answers: bool | None = None
    why: str = ""
    down_s: float = 0.0
    pid: int | None = None
    version: str = ""
    uptime_s: float | None = None
    restarts: int = 0
    ready: bool | None = None
    clock_offset_s: float | None = None
    rows: int | None = None
    newest_generation: str | None = None
    rows_behind: int | None = None
    generations_behind: int | None = None
    config_revision: int | None = None
    config_fault: str = ""
    rss_bytes: int | None = None
    behind_s: float | None = None
    fault: str = ""
    days_not_held: int | None = None

    @property
    def subject(self) -> str:
        """Its name in readings, logs and alerts."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Intake:
    """What the ingester counts, and how that changed since the round before.

    Attributes:
        accepted_per_s: events a second since the round before; None in the first one after a start.
        refused_per_minute: by reason, since the round before.
        forged_frames, copied_frames, nonces_repeated: how many within the last five minutes.
        index_lag: by index, logged rows that it has not taken yet.
        queue_bytes: events that wait for the indices.
        paused: whether it takes nothing because the disk is too full.
        dead_letter_events: kept or counted since the ingester started.
        v1_missing: by sensor of wire version 1, frames that never came.
    """

    started: str
    accepted: int
    accepted_per_s: float | None = None
    refused_per_minute: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    forged_frames: int = 0
    copied_frames: int = 0
    nonces_repeated: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    index_lag: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    queue_bytes: int = 0
    paused: bool = False
    dead_letter_events: int = 0
    v1_missing: Mapping[str, float] = field(default_factory=lambda: NOTHING)

    @property
    def index_lag_rows(self) -> int:
        """Of the index that is furthest behind."""
        return int(max(self.index_lag.values(), default=0))


@dataclass(frozen=True)
class Sensor:
    """What is known of one that sends events as they happen.

    Attributes:
        name: as it calls itself in its events, bounded and printable.
        events: since the ingester started.
        newest_ns: when its newest event came in, by the ingester's clock.
        usual_gap_s: the time between two of its events that is usual; 0 while that is unknown.
        deaf_s: how long of the time since `newest_ns` there was no ingester to hear it.
        clock_s: the time of its newest event less the time it came in; above 0 its clock is ahead.
    """

    name: str
    events: int
    newest_ns: int
    usual_gap_s: float = 0.0
    deaf_s: float = 0.0
    clock_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Index:
    """One index of a sealed day.

    Attributes:
        state: OK, MISSING, STALE or CORRUPT.
        why: what is wrong, one sentence.
        remedy: REPAIR, REINDEX or BACKUP where it is not OK.
        version: the one that is served; 0 where none is.
        recall: 0 to 1, of the last audit; None before the first.
        distance_cv: coefficient of variation of the distances of neighbours, as `recall`.
    """

    name: str
    state: str
    why: str = ""
    remedy: str = ""
    version: int = 0
    recall: float | None = None
    distance_cv: float | None = None


@dataclass(frozen=True, slots=True)
class Day:
    """One day as its last check found it.

    Attributes:
        day: YYYY-MM-DD.
        sealed: whether it is served from a sealed generation.
        rows: events of the day.
        indices: those of a sealed day, by name.
        fault: what is wrong with its events or metadata; empty where nothing is.
        repairable: whether `fault` can be repaired from the day's own events.
        generation: number of the generation that is served; 0 where none is.
        held: whether a case or an operator keeps it as it is.
        checked_ns: when its files were looked at last.
        scrubbed_ns: when every byte of it was read and compared last; 0 for never.
    """

    day: str
    sealed: bool
    rows: int
    indices: tuple[Index, ...] = ()
    fault: str = ""
    repairable: bool = True
    generation: int = 0
    held: bool = False
    checked_ns: int = 0
    scrubbed_ns: int = 0

    @property
    def consistent(self) -> bool:
        """Whether nothing of it is damaged or missing."""
        return not self.fault and all(index.state == OK for index in self.indices)


NO_HELP = "it was done, and what was wrong is so still"
"""Why an attempt has failed that the ingester ended well."""


@dataclass(frozen=True)
class Attempt:
    """What was tried, from the first time until it is seen to have helped.

    It counts as failed until then, so that a kill at any moment lets nothing be tried more often than it should.

    Attributes:
        op: the operation of the ingester, such as "repair".
        subject: what it is about: a day, `DAY/PART`.
        seen: what was wrong when it was tried last; something else begins anew.
        tries: how often in a row, the last one among them.
        last_ns: when it was asked for last.
        job: the ingester's name of the job while that runs or waits; empty when it has ended.
        error: why the last one failed, or that it did not help; empty while it runs, and before somebody looked.
        ended_ns: when the last one ended; 0 while it runs.
    """

    op: str
    subject: str
    seen: str
    tries: int
    last_ns: int
    job: str = ""
    error: str = ""
    ended_ns: int = 0

    @property
    def runs(self) -> bool:
        """Whether the ingester has it in hand, as far as is known."""
        return not self.ended_ns

    @property
    def failures(self) -> int:
        """How often it is known not to have helped: what runs may still, and what ended well was not looked at yet."""
        return self.tries - (self.runs or not self.error)

    def goes_on_at(self, seen: str) -> bool:
        """Whether what is seen to be wrong now is what was tried at: the same, or what an attempt made of it.

        A repair that ends well leaves another version, also where that is damaged at once: without this it would be
        tried for ever on a disk that fails, or against somebody who damages it again.
        """
        return self.seen == seen or self.error == NO_HELP


@dataclass(frozen=True)
class Chain:
    """The chain of signed days. `faults` are sentences, at most 20 of them."""

    links: int
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Certificate:
    """One that the registry needs.

    Attributes:
        subject: the name of its file, or `etcd HOST:PORT` of one that a member presents.
        until_ns: until when it is taken, nanoseconds since 1970.
    """

    subject: str
    until_ns: int


@dataclass(frozen=True)
class Retention:
    """What the limits of age and disk mean.

    Attributes:
        days_left: until a day has to be dropped for room; None where none would ever be, or that is as it should be.
        days_that_fit: how many days the budget holds; None where there is no budget, or no day yet.
        drops, repacks: what is to be done now, in this order; nothing where retention is off.
    """

    days_left: float | None
    days_that_fit: int | None = None
    drops: tuple[Drop, ...] = ()
    repacks: tuple[Repack, ...] = ()


@dataclass(frozen=True)
class Observation:
    """Everything at one moment.

    Attributes:
        time_ns: the moment, nanoseconds since 1970.
        disks: one for each file system.
        services: those that should run, sorted by kind and name.
        registry: None where it answers, otherwise why it does not.
        registry_is_etcd: whether that is an etcd.
        intake: None while the ingester does not answer.
        sensors: None while nothing is known of any; sorted by name.
        days: None before the first check; oldest first.
        days_overdue_s: how long a look at all days has been due, seconds; None where that is not told.
        attempts: what was tried; sorted by operation and subject.
        chain: None before the first check, and where nothing is signed.
        certificates: None before the first look; none where the registry has none. Sorted by subject.
        config_revision: the newest revision of the live configuration that health read; None where there is none.
        config_fault: why health itself refuses that one; empty where it does not.
        retention: None where it is unknown.
        running_s: how long health itself runs, seconds: what is missing in the first minute may be starting too.
    """

    time_ns: int
    disks: tuple[Disk, ...] = ()
    services: tuple[Service, ...] = ()
    registry: str | None = None
    registry_is_etcd: bool = False
    intake: Intake | None = None
    sensors: tuple[Sensor, ...] | None = None
    days: tuple[Day, ...] | None = None
    days_overdue_s: float | None = None
    attempts: tuple[Attempt, ...] = ()
    chain: Chain | None = None
    certificates: tuple[Certificate, ...] | None = None
    config_revision: int | None = None
    config_fault: str = ""
    retention: Retention | None = None
    running_s: float = 0.0

    def day(self, day: str) -> Day | None:
        """A day by its name; None for one that is not there."""
        return next((found for found in self.days or () if found.day == day), None)
