"""Intake: checks events, sorts them into days, drops what a day has already, and makes them durable as a group.

verdict = intake.add(payloads, backfill=..., origin=...)      in memory and in the page cache
intake.commit()                                               on disk: acknowledge after this
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.chunk import open_chunk
from services.common.days.generations import sealed_through
from services.common.days.identity import IdentitySet
from services.common.days.names import day_of, day_start_ns, read_pointer
from services.common.days.open_writer import SegmentLog
from services.common.errors import AppiaError
from services.common.events.parse import Refused, parse_event
from services.common.rest.storage_keys import NO_KEYS
from services.common.wire.body import MAX_BODY_BYTES
from services.ingester.sensors import SensorsSeen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from services.common.days.names import DayNames, StateNames
    from services.common.durable import Disk
    from services.common.events.network_security_pb2 import NetworkSecurityEvent
    from services.common.rest.log_keys import LogKeys
    from services.ingester.dead_letter import DeadLetter
    from services.ingester.recovery import OpenSegment

    _ByDay = dict[int, tuple[list[bytes], list[NetworkSecurityEvent]]]
    """Serialized events and the same parsed, by the number of their day."""

LATE_S = 7 * 86_400
EARLY_S = 300
_DAY_S = 86_400
_OPEN_LOGS = 64


@dataclass(frozen=True)
class SegmentKey:
    """Names one open segment."""

    day: str
    number: int


@dataclass(frozen=True)
class Logged:
    """Events that are on disk as rows from `first_row` of a segment, on their way to the indices."""

    segment: SegmentKey
    first_row: int
    payloads: Sequence[bytes]
    events: Sequence[NetworkSecurityEvent]
    positions: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Bytes of the events as serialized."""
        return sum(map(len, self.payloads))


@dataclass
class Verdict:
    """What became of the events of one frame."""

    accepted: int = 0
    duplicates: int = 0
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Coming:
    """When and from where some events come; see `Intake.add`."""

    now_ns: int
    origin: str
    backfill: bool
    is_kept: bool


@dataclass
class _Day:
    """One day that events came for since the start."""

    names: DayNames
    known: IdentitySet
    segment: int  # number of the segment that takes the next event
    rows: int  # rows of that segment
    log: SegmentLog | None = None
    last_event_s: float = 0.0


@dataclass(frozen=True)
class IntakeTools:
    """What the intake needs from outside."""

    disk: Disk
    dead_letter: DeadLetter
    clock: Callable[[], int]  # nanoseconds since 1970
    monotonic: Callable[[], float]  # seconds
    keys: LogKeys = NO_KEYS
    dropped: frozenset[str] = frozenset()  # days that take no events any more


class Intake:
    """The one place where events enter days. Not safe for several threads."""

    def __init__(self, state: StateNames, recovered: Sequence[OpenSegment], tools: IntakeTools) -> None:
        """Go on behind the segments that recovery found."""
        self._state = state
        self._tools = tools
        self._recovered: dict[str, list[OpenSegment]] = {}
        for segment in recovered:
            self._recovered.setdefault(segment.day, []).append(segment)
        self._days: dict[int, _Day] = {}
        self._unreadable: dict[int, str] = {}  # why a day cannot be loaded, until the next start
        self._dropped = set(map(_number_of, tools.dropped))
        self._pending: list[Logged] = []
        self._touched: dict[int, SegmentLog] = {}
        self.sensors = SensorsSeen()
        self.accepted = 0
        self.duplicates = 0

    def add(
        self, payloads: Sequence[bytes], *, backfill: bool, origin: str, is_kept: bool = False
    ) -> Verdict:
        """Check and append events; nothing is durable before `commit`.

        Args:
            payloads: serialized events.
            backfill: whether events may be older than a week.
            origin: where they came from, for the dead letter.
            is_kept: they are in the dead letter already; what is refused again is not kept once more.

        Raises:
            OSError: they could not be written. Where the disk is full (`is_full`), the call may come again later: what
                it took is known then; after anything else the process has to end.
        """
        verdict, coming = Verdict(), _Coming(self._tools.clock(), origin, backfill=backfill, is_kept=is_kept)
        for number, (its_payloads, its_events) in self._by_day(payloads, coming, verdict).items():
            try:
                known = self._day(number)
            except AppiaError as error:
                for payload in its_payloads:
                    self._refuse(Refused("day_unreadable", str(error)), payload, coming, verdict)
                continue
            new = self._append(known, number, its_payloads, its_events)
            verdict.accepted += len(new)
            verdict.duplicates += len(its_payloads) - len(new)
            if not is_kept:  # what came before shows no sensor that lives: anybody may send a recording again
                its_sensors = ((e.originating_node_id, e.event_timestamp.seconds) for e in new)
                self.sensors.note(its_sensors, coming.now_ns, backfill=backfill)
        self.accepted += verdict.accepted
        self.duplicates += verdict.duplicates
        return verdict

    def _by_day(self, payloads: Sequence[bytes], coming: _Coming, verdict: Verdict) -> _ByDay:
        """The events that may be taken, by day; the others are refused."""
        days: _ByDay = {}
        now_s = coming.now_ns // 1_000_000_000
        oldest_s = -(1 << 62) if coming.backfill else now_s - LATE_S
        for payload in payloads:
            try:
                _check_size(payload)
                event = parse_event(payload)
                day = _day_number(event.event_timestamp.seconds, oldest_s, now_s + EARLY_S)
                self._refuse_dropped(day)
            except Refused as refused:
                self._refuse(refused, payload, coming, verdict)
                continue
            group = days.get(day)
            if group is None:
                group = days[day] = ([], [])
            group[0].append(payload)
            group[1].append(event)
        return days

    def _refuse(self, refused: Refused, payload: bytes, coming: _Coming, verdict: Verdict) -> None:
        verdict.refused[refused.reason] += 1
        if not coming.is_kept:
            self._tools.dead_letter.keep(refused.reason, refused.detail, coming.origin, payload)

    def _append(
        self, day: _Day, number: int, payloads: list[bytes], events: list[NetworkSecurityEvent]
    ) -> list[NetworkSecurityEvent]:
        """Append what the day has not yet; gives these events."""
        new = day.known.add_new(payloads)
        if not new.all():
            kept = np.flatnonzero(new).tolist()
            payloads, events = [payloads[i] for i in kept], [events[i] for i in kept]
        if not payloads:
            return []
        try:
            log = self._log(day)
            first_row = log.rows
            positions = log.append(payloads)
        except OSError:
            day.known.take_back(payloads)
            raise
        day.rows = log.rows
        day.last_event_s = self._tools.monotonic()
        self._touched[number] = log
        self._pending.append(
            Logged(SegmentKey(day.names.day, day.segment), first_row, payloads, events, positions)
        )
        return events

    def commit(self) -> list[Logged]:
        """Block until everything added is on disk; gives what the indices have to take.

        Raises:
            OSError: the disk failed. Nothing may be acknowledged after that: the process has to end.
        """
        for log in self._touched.values():
            log.sync()
        self._tools.dead_letter.sync()
        self._touched.clear()
        pending, self._pending = self._pending, []
        return pending

    def rotate(self, day: str) -> SegmentKey | None:
        """Close the segment of `day` that is being written, so that it can be sealed; later events open the next.

        Gives the last segment to be sealed; None where the day has no open segment.

        Raises:
            AppiaError: the day cannot be read.
        """
        names = self._state.day(day)
        segments = names.segments()
        if not segments:
            return None
        # Loaded even where no event came since the start, so that its events stay known while it is sealed.
        known = self._day(_number_of(day))
        if known.log is not None:
            known.log.close()
        known.log, known.segment, known.rows = None, max(segments) + 1, 0
        return SegmentKey(day, max(segments))

    def drop(self, day: str) -> None:
        """Take no more events of a day, all of which are sealed.

        Raises:
            AppiaError: it has events that are not.
        """
        if self._state.day(day).segments():
            raise AppiaError(f"Day {day} has events that are not sealed yet.")
        self.forget(day)
        self._dropped.add(_number_of(day))

    def take_again(self, day: str) -> None:
        """Take back `drop`."""
        self._dropped.discard(_number_of(day))

    def forget(self, day: str) -> None:
        """Let go of what is remembered of a sealed day, unless events came since; it is loaded again when they do."""
        for number, known in list(self._days.items()):
            if known.names.day == day and not known.rows:
                known.known.close()
                del self._days[number]

    def quiet_s(self, day: str) -> float | None:
        """Seconds since the last event of a day; None where none came since the start."""
        for known in self._days.values():
            if known.names.day == day and known.last_event_s:
                return self._tools.monotonic() - known.last_event_s
        return None

    def close(self) -> None:
        """Sync and close all logs."""
        for day in self._days.values():
            if day.log is not None:
                day.log.close()
            day.known.close()
        self._tools.dead_letter.close()

    def _refuse_dropped(self, number: int) -> None:
        if number in self._dropped:
            day = day_of(number * _DAY_S * 1_000_000_000)
            raise Refused("day_dropped", f"the day {day} was dropped: it takes no more events")

    def _day(self, number: int) -> _Day:
        day = self._days.get(number)
        if day is None:
            if number in self._unreadable:
                raise AppiaError(self._unreadable[number])
            try:
                day = self._days[number] = self._load(day_of(number * _DAY_S * 1_000_000_000))
            except AppiaError as error:
                self._unreadable[number] = str(error)
                raise
        return day

    def _load(self, name: str) -> _Day:
        names = self._state.day(name)
        runs: list[NDArray[np.void]] = []
        current = read_pointer(names.current)
        if current is not None:
            chunk = open_chunk(names.generation(current).chunk)
            runs.append(chunk.identities())
            chunk.log.close()
        recovered = self._recovered.pop(name, [])
        if names.segments() and not recovered:
            raise AppiaError(
                f"day {name} has open segments that could not be read at the start: see the log of then"
            )
        runs += [segment.identities for segment in recovered]
        if recovered:
            last = max(recovered, key=lambda segment: segment.names.number)
            return _Day(names, IdentitySet(runs, self._state.run), last.names.number, last.rows)
        sealed = 0 if current is None else sealed_through(names, current)
        used = [*names.segments(), sealed]
        return _Day(names, IdentitySet(runs, self._state.run), max(used) + 1, 0)

    def _log(self, day: _Day) -> SegmentLog:
        if day.log is None:
            self._close_idle_logs()
            tools = self._tools
            day.log = SegmentLog(tools.disk, day.names.segment(day.segment), day.rows, tools.keys)
        return day.log

    def _close_idle_logs(self) -> None:
        """Keep few files open when events of very many days come: the longest silent days reopen when needed."""
        opened = [(number, day, day.log) for number, day in self._days.items() if day.log is not None]
        if len(opened) < _OPEN_LOGS:
            return
        for number, day, log in sorted(opened, key=lambda entry: entry[1].last_event_s)[: len(opened) // 2]:
            log.close()  # which syncs it
            self._touched.pop(number, None)
            day.log = None


def _number_of(day: str) -> int:
    """Days since 1970."""
    return day_start_ns(day) // (_DAY_S * 1_000_000_000)


def _check_size(payload: bytes) -> None:
    """A file may hold more than a frame can; a block of such events could not be read from a sealed day."""
    if len(payload) > MAX_BODY_BYTES:
        raise Refused("too_long", f"the event has {len(payload)} bytes, at most {MAX_BODY_BYTES} are taken")


def _day_number(seconds: int, oldest_s: int, newest_s: int) -> int:
    if seconds < oldest_s:
        raise Refused(
            "too_old", f"the event is more than {LATE_S // _DAY_S} days old and not marked as a backfill"
        )
    if seconds > newest_s:
        raise Refused("in_future", f"the event is more than {EARLY_S // 60} minutes in the future")
    return seconds // _DAY_S
