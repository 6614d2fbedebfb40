"""Filters: which rows of a segment a question is about, decided on its mapped columns before any search."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.columns import TAGS
from services.common.days.selection import Selection
from services.rag.networks import addresses_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.rag.decisions import Decisions
    from services.rag.feedback import Remarks
    from services.rag.networks import Network
    from services.rag.segments import Segment

_LIMITS = np.iinfo(np.int64)
_COMPARED = 3
DAY_NS = 86_400 * 10**9


@dataclass(frozen=True)
class PortRange:
    """Ports from `low` to `high`, both included."""

    low: int
    high: int


@dataclass(frozen=True)
class ScoreRange:
    """Rows whose score `column` lies between `low` and `high`, both included."""

    column: str  # "overall", "fast", "ml" or "divergence"
    low: float
    high: float


@dataclass(frozen=True)
class DayTime:
    """A stretch of every UTC day, in nanoseconds after midnight; `stop` is excluded.

    It lies on the next day where it is not after `start`.
    """

    start: int
    stop: int


@dataclass(frozen=True)
class Inside:
    """Rows whose address on one side belongs to the internal networks, or does not."""

    wanted: bool
    networks: tuple[Network, ...]


@dataclass(frozen=True)
class Filters:
    """What a row must fulfil; all fields that are given, and of a field with several values any one.

    Texts are compared without regard to case and may hold `*` for any characters.
    """

    since_ns: int | None = None  # event time, nanoseconds since 1970 UTC, included
    until_ns: int | None = None  # excluded
    days: tuple[str, ...] = ()
    hours: tuple[DayTime, ...] = ()
    src: tuple[Network, ...] = ()
    dst: tuple[Network, ...] = ()
    host: tuple[Network, ...] = ()  # either side
    src_internal: Inside | None = None
    dst_internal: Inside | None = None
    src_port: tuple[PortRange, ...] = ()
    dst_port: tuple[PortRange, ...] = ()
    port: tuple[PortRange, ...] = ()  # either side
    protocol: tuple[int, ...] = ()
    klass: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    node: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()  # one of the event's tags; an empty text: it has none
    technique: tuple[str, ...] = ()  # numbers of ATT&CK techniques that the narrative names
    scores: tuple[ScoreRange, ...] = ()
    source: tuple[int, ...] = ()  # DetectorSource
    fast_triggered: bool | None = None
    feedback: tuple[str, ...] = ()  # of `feedback.FEEDBACK`
    blocked: tuple[str, ...] = ()  # of `blocked.Blocked`
    decisions: Decisions | None = field(default=None, compare=False)  # of firewalls, to tell that
    remarks: Remarks | None = field(default=None, compare=False)  # what analysts said by now, to tell that

    def select(self, segment: Segment) -> Selection | None:
        """The rows that pass; None for all of them."""
        span, rows = self._span(segment), segment.view.rows
        mask: NDArray[np.bool_] | None = None
        for condition in self._conditions if span.start < span.stop else ():
            found = condition(segment, span)
            if found is None:
                continue
            mask = found if mask is None else mask & found
            if not mask.any():
                return Selection(rows, 0, mask[:0])
        if mask is None and rows and (span.start, span.stop) == (0, rows):
            return None
        return Selection(rows, span.start, np.ones(span.stop - span.start, bool) if mask is None else mask)

    def may_pass(self, segment: Segment) -> bool:
        """Whether a segment can have rows that pass, by its day and the first and last of its times."""
        view, tally = segment.view, segment.tally
        since, until = self._window()
        reached = bool(view.rows) and tally.last_ns >= since and tally.first_ns < until
        return reached and (not self.days or view.day in self.days)

    def _span(self, segment: Segment) -> slice:
        """The stretch of rows that can pass by day and time; exact where rows are sorted (sealed)."""
        view, tally = segment.view, segment.tally
        if not self.may_pass(segment):
            return slice(0, 0)
        since, until = self._window()
        if not view.sealed or (since <= tally.first_ns and tally.last_ns < until):
            return slice(0, view.rows)
        start, stop = np.searchsorted(view.columns["time_ns"], np.array((since, until), np.int64))
        return slice(int(start), int(stop))

    def _window(self) -> tuple[int, int]:
        since = int(_LIMITS.min) if self.since_ns is None else self.since_ns
        return since, int(_LIMITS.max) if self.until_ns is None else self.until_ns

    @cached_property
    def _conditions(self) -> tuple[Condition, ...]:
        return tuple(self._make_conditions())

    def _make_conditions(self) -> Iterator[Condition]:
        if self.since_ns is not None or self.until_ns is not None:
            yield self._in_time
        if self.hours:
            yield _hours_condition(self.hours)
        texts = (
            ("class", self.klass),
            ("category", self.category),
            ("label", self.label),
            ("node", self.node),
        )
        yield from (_text_condition(column, _text_matcher(wanted)) for column, wanted in texts if wanted)
        if self.tags:
            yield _tags_condition(self.tags)
        if self.technique:
            yield _technique_condition(self.technique)
        numbers = (("protocol", self.protocol), ("source", self.source))
        yield from (_number_condition(column, wanted) for column, wanted in numbers if wanted)
        if self.fast_triggered is not None:
            yield _number_condition("fast_triggered", (int(self.fast_triggered),))
        yield from map(_score_condition, self.scores)
        ports = (
            (("src_port",), self.src_port),
            (("dst_port",), self.dst_port),
            (("src_port", "dst_port"), self.port),
        )
        yield from (_port_condition(columns, ranges) for columns, ranges in ports if ranges)
        sides = (("src_ip",), self.src), (("dst_ip",), self.dst), (("src_ip", "dst_ip"), self.host)
        yield from (_address_condition(columns, networks) for columns, networks in sides if networks)
        places = ("src_ip", self.src_internal), ("dst_ip", self.dst_internal)
        yield from (_inside_condition(column, inside) for column, inside in places if inside)
        if self.feedback:
            yield _feedback_condition(self.feedback, self.remarks)
        if self.blocked:
            yield _blocked_condition(self.blocked, self.decisions)

    def _in_time(self, segment: Segment, span: slice) -> NDArray[np.bool_] | None:
        since, until = self._window()
        if segment.view.sealed or (since <= segment.tally.first_ns and segment.tally.last_ns < until):
            return None
        times = np.asarray(segment.view.columns["time_ns"][span], np.int64)
        return np.asarray((times >= since) & (times < until))


Condition = Callable[["Segment", slice], "NDArray[np.bool_] | None"]
"""Which rows of a stretch pass, bool; None for all of them."""
Match = Callable[[str], object]
"""Whether a text passes, as what is true or not."""


def _hours_condition(hours: tuple[DayTime, ...]) -> Condition:
    def condition(segment: Segment, span: slice) -> NDArray[np.bool_]:
        times = np.asarray(segment.view.columns["time_ns"][span], np.int64) % DAY_NS
        passing = np.zeros(len(times), bool)
        for one in hours:
            began, ends = times >= one.start, times < one.stop
            passing |= began & ends if one.start < one.stop else began | ends
        return passing

    return condition


def _feedback_condition(wanted: tuple[str, ...], remarks: Remarks | None) -> Condition:
    if remarks is None:
        raise ValueError("what analysts said belongs to a snapshot: see Question.about")

    def condition(segment: Segment, span: slice) -> NDArray[np.bool_]:
        return remarks.select(segment.view, wanted)[span]

    return condition


def _blocked_condition(wanted: tuple[str, ...], decisions: Decisions | None) -> Condition:
    if decisions is None:
        raise ValueError("what firewalls decided belongs to a snapshot: see Question.about")

    def condition(segment: Segment, span: slice) -> NDArray[np.bool_]:
        return decisions.select(segment.view, wanted)[span]

    return condition


def _text_condition(column: str, match: Match) -> Condition:
    def condition(segment: Segment, span: slice) -> NDArray[np.bool_] | None:
        view = segment.view
        present = np.flatnonzero(segment.tally.counts[column])
        passing = [code for code in present.tolist() if match(view.texts[code])]
        if len(passing) == len(present):
            return None
        return _has_code(segment, span, column, passing)

    return condition


def _has_code(segment: Segment, span: slice, column: str, passing: list[int]) -> NDArray[np.bool_]:
    lookup = np.zeros(len(segment.view.texts), bool)
    lookup[passing] = True
    return _looked_up(lookup, segment.view.columns[column][span])


def _looked_up(lookup: NDArray[np.bool_], codes: NDArray[Any]) -> NDArray[np.bool_]:
    """`lookup[codes]`: few codes are compared, and for many `take` needs half the time of an index."""
    passing = np.flatnonzero(lookup)
    if len(passing) > _COMPARED:
        return np.asarray(lookup.take(codes))
    found = np.zeros(len(codes), bool)
    for code in passing.tolist():
        found |= codes == code
    return found


def _tags_condition(wanted: tuple[str, ...]) -> Condition:
    match_one, untagged = _text_matcher(wanted), "" in wanted

    def match(joined: str) -> bool:
        return any(map(match_one, joined.split(","))) if joined else untagged

    by_column = _text_condition(TAGS, match)

    def condition(segment: Segment, span: slice) -> NDArray[np.bool_] | None:
        if TAGS in segment.tally.counts:
            return by_column(segment, span)
        # Written by an older release: only the database knows.
        rows = np.array(segment.view.events.tagged(match), np.int64)
        passing = np.zeros(span.stop - span.start, bool)
        passing[rows[(rows >= span.start) & (rows < span.stop)] - span.start] = True
        return passing

    return condition


def _technique_condition(wanted: tuple[str, ...]) -> Condition:
    # T1021 also means T1021.002, and not the other way round.
    match = re.compile(rf"\bATT&CK (?:{'|'.join(map(re.escape, wanted))})(?!\d)").search

    def condition(segment: Segment, span: slice) -> NDArray[np.bool_]:
        passing = [code for code, text in enumerate(segment.view.texts) if match(text)]
        return _has_code(segment, span, "narrative", passing)

    return condition


def _text_matcher(wanted: tuple[str, ...]) -> Match:
    # "?" and "[" are plain characters here: only "*" is special.
    escaped = (re.sub(r"([\[?])", r"[\1]", text.casefold()) for text in wanted)
    pattern = re.compile("|".join(map(fnmatch.translate, escaped)))
    return lambda text: pattern.match(text.casefold())


def _number_condition(column: str, wanted: tuple[int, ...]) -> Condition:
    def condition(segment: Segment, span: slice) -> NDArray[np.bool_]:
        values = segment.view.columns[column][span]
        if len(wanted) == 1:
            return np.asarray(values == wanted[0])
        lookup = np.zeros(256, bool)
        lookup[list(wanted)] = True
        return lookup[np.asarray(values, np.uint8)]

    return condition


def _score_condition(wanted: ScoreRange) -> Condition:
    low, high = np.float32(wanted.low), np.float32(wanted.high)

    def condition(segment: Segment, span: slice) -> NDArray[np.bool_]:
        values = np.asarray(segment.view.columns[wanted.column][span], np.float32)
        return (values >= low) & (values <= high)

    return condition


def _port_condition(columns: tuple[str, ...], ranges: tuple[PortRange, ...]) -> Condition:
    def condition(segment: Segment, span: slice) -> NDArray[np.bool_]:
        passing = np.zeros(span.stop - span.start, bool)
        for column in columns:
            values = np.asarray(segment.view.columns[column][span], np.uint16)
            for ports in ranges:
                if ports.low == ports.high:
                    passing |= values == ports.low
                else:
                    passing |= (values >= ports.low) & (values <= ports.high)
        return passing

    return condition


def _address_condition(columns: tuple[str, ...], networks: tuple[Network, ...]) -> Condition:
    def condition(segment: Segment, span: slice) -> NDArray[np.bool_]:
        view = segment.view
        lookup = addresses_in(view.addresses, networks)
        passing = np.zeros(span.stop - span.start, bool)
        if lookup.any():
            for column in columns:
                passing |= _looked_up(lookup, view.columns[column][span])
        return passing

    return condition


def _inside_condition(column: str, inside: Inside) -> Condition:
    def condition(segment: Segment, span: slice) -> NDArray[np.bool_]:
        view = segment.view
        lookup = addresses_in(view.addresses, inside.networks) == inside.wanted
        return _looked_up(lookup, view.columns[column][span])

    return condition
