"""Tables of the patterns of events: how often each narrative occurs, from when to when, and between which hosts.

A table is of one segment, or of several merged. That of a sealed segment is made once; that of an open one grows with
it. A table that is kept names the most frequent `HOSTS_KEPT` hosts of a narrative on either side, and counts the rest.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from services.common.days.columns import ADDRESS_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from services.common.days.view import SegmentView

HOSTS_KEPT = 64
"""Hosts of a narrative that are named on either side; where there are more an answer says "at least"."""
SIDES = ("src_ip", "dst_ip")
CLASS = "class"

_SHIFT = 32  # a key is the number of a narrative, shifted, and the number of an address or a text
_VALUE = (1 << _SHIFT) - 1
_LIMITS = np.iinfo(np.int64)
_NONE: NDArray[np.int64] = np.empty(0, np.int64)
_NONE.setflags(write=False)
_NO_ADDRESSES: NDArray[np.uint8] = np.empty((0, ADDRESS_BYTES), np.uint8)
_NO_ADDRESSES.setflags(write=False)


@dataclass(frozen=True)
class Spans:
    """How many events each of n narratives has, when the first and when the last was; nanoseconds since 1970, int64."""

    counts: NDArray[np.int64] = field(default_factory=lambda: _NONE)
    first_ns: NDArray[np.int64] = field(default_factory=lambda: _NONE)
    last_ns: NDArray[np.int64] = field(default_factory=lambda: _NONE)

    def sized(self, narratives: int) -> Spans:
        """A copy with room for so many narratives, those that are new without events."""
        more = narratives - len(self.counts)
        return Spans(
            np.concatenate([self.counts, np.zeros(more, np.int64)]),
            np.concatenate([self.first_ns, np.full(more, _LIMITS.max)]),
            np.concatenate([self.last_ns, np.full(more, _LIMITS.min)]),
        )

    def add(self, numbers: NDArray[np.int64], more: Spans) -> None:
        """Count `more` (m,) of the narratives with these numbers (m,), in place; a number may come several times."""
        np.add.at(self.counts, numbers, more.counts)
        np.minimum.at(self.first_ns, numbers, more.first_ns)
        np.maximum.at(self.last_ns, numbers, more.last_ns)


@dataclass(frozen=True)
class Pairs:
    """Which values (addresses, or texts) events with a narrative have, and how many events each.

    `keys` int64 (m,), ascending: number of the narrative << 32 | number of the value; `events` int64 (m,).
    """

    keys: NDArray[np.int64] = field(default_factory=lambda: _NONE)
    events: NDArray[np.int64] = field(default_factory=lambda: _NONE)
    cut: Mapping[int, int] = field(default_factory=dict)
    """Narratives of which not all values are here: number -> how many there are at least."""

    def of(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The numbers of the values of a narrative, and the events of each."""
        start, end = np.searchsorted(self.keys, (number << _SHIFT, (number + 1) << _SHIFT)).tolist()
        return self.keys[start:end] & _VALUE, self.events[start:end]

    def grown(self, keys: NDArray[np.int64]) -> Pairs:
        """With more events, a key each, in any order. Costs the time of a copy and of sorting the new ones."""
        new, counts = np.unique(keys, return_counts=True)
        places = np.searchsorted(self.keys, new)
        known = np.zeros(len(new), bool)
        inside = places < len(self.keys)
        known[inside] = self.keys[places[inside]] == new[inside]
        events = self.events.copy()
        events[places[known]] += counts[known]
        places, fresh = places[~known], ~known
        return replace(
            self,
            keys=np.insert(self.keys, places, new[fresh]),
            events=np.insert(events, places, counts[fresh]),
        )

    def shortened(self, addresses: NDArray[np.uint8]) -> Pairs:
        """Only the most frequent `HOSTS_KEPT` of each narrative; of equally frequent ones the lowest addresses."""
        numbers, counts = np.unique(self.keys >> _SHIFT, return_counts=True)
        long = counts > HOSTS_KEPT
        if not long.any():
            return self
        halves = addresses[self.keys & _VALUE].view(">u8")
        order = np.lexsort((halves[:, 1], halves[:, 0], -self.events, self.keys >> _SHIFT))
        places = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = np.sort(order[places < HOSTS_KEPT])
        pairs = zip(numbers[long].tolist(), counts[long].tolist(), strict=True)
        cut = {number: max(count, self.cut.get(number, 0)) for number, count in pairs}
        return Pairs(self.keys[kept], self.events[kept], {**self.cut, **cut})


@dataclass(frozen=True, eq=False)
class PatternTable:
    """The narratives of some rows of segments. Immutable; safe for several threads.

    `numbers` counts the narratives in their order; `spans`, `sides` (sources, destinations) and `classes` go by these
    numbers; `codes` int64 (texts,) gives a text of the segment the number of its narrative, or -1.
    """

    rows: int = 0
    numbers: Mapping[str, int] = field(default_factory=dict)
    codes: NDArray[np.int64] = field(default_factory=lambda: _NONE)
    spans: Spans = field(default_factory=Spans)
    sides: tuple[Pairs, Pairs] = (Pairs(), Pairs())
    classes: Pairs = field(default_factory=Pairs)
    addresses: NDArray[np.uint8] = field(default_factory=lambda: _NO_ADDRESSES)  # (n, 16), those of `sides`
    texts: Sequence[str] = ()  # those of `classes`

    def grown(self, view: SegmentView) -> PatternTable:
        """The table of all rows of `view`, looking only at those behind the first `self.rows`."""
        if view.rows == self.rows:
            return self
        texts = np.asarray(view.columns["narrative"][self.rows : view.rows])
        numbers, codes = self._with_texts(view.texts, np.flatnonzero(np.bincount(texts)).tolist())
        known = replace(
            self, rows=view.rows, numbers=numbers, codes=codes, addresses=view.addresses, texts=view.texts
        )
        return known.counting(view, slice(self.rows, view.rows), codes[texts])

    def of_rows(self, view: SegmentView, rows: NDArray[np.int64], narratives: Sequence[str]) -> PatternTable:
        """A table of some narratives as far as they are among some rows; `self` is that of all rows of `view`."""
        lookup = np.full(
            len(self.numbers) + 1, -1, np.int64
        )  # one more for texts that are no narratives here
        for number, text in enumerate(narratives):
            if text in self.numbers:
                lookup[self.numbers[text]] = number
        found = lookup[self.codes[view.columns["narrative"][rows]]]
        wanted = found >= 0
        empty = PatternTable(
            numbers={text: i for i, text in enumerate(narratives)}, addresses=view.addresses, texts=view.texts
        )
        return empty.counting(view, rows[wanted], found[wanted]).shortened()

    def _with_texts(
        self, texts: Sequence[str], present: Iterable[int]
    ) -> tuple[Mapping[str, int], NDArray[np.int64]]:
        """`numbers` and `codes` with the narratives among the texts of a segment that are `present`."""
        numbers = dict(self.numbers)
        codes = np.full(len(texts), -1, np.int64)
        codes[: len(self.codes)] = self.codes
        for code in present:
            if codes[code] < 0:
                codes[code] = numbers.setdefault(texts[code], len(numbers))
        return numbers, codes

    def counting(self, view: SegmentView, rows: slice | NDArray[np.int64], found: NDArray[np.int64]) -> Self:
        """With the events of some rows counted, whose narratives have the numbers `found`."""
        times = np.asarray(view.columns["time_ns"][rows], np.int64)
        spans = self.spans.sized(len(self.numbers))
        spans.add(found, Spans(np.ones(len(found), np.int64), times, times))
        source, destination, classes = (
            pairs.grown((found << _SHIFT) | np.asarray(view.columns[column][rows], np.int64))
            for pairs, column in zip((*self.sides, self.classes), (*SIDES, CLASS), strict=True)
        )
        return replace(self, spans=spans, sides=(source, destination), classes=classes)

    def shortened(self) -> Self:
        """With at most `HOSTS_KEPT` hosts of each narrative on either side."""
        source, destination = (hosts.shortened(self.addresses) for hosts in self.sides)
        return replace(self, sides=(source, destination))


class SegmentTables:
    """Gives the table of one segment, made when it is first asked for. Safe for several threads."""

    def __init__(self) -> None:
        """Make nothing yet."""
        self._lock = threading.Lock()
        self._newest = PatternTable()  # with all hosts while the segment is open: it may grow

    def of(self, view: SegmentView) -> PatternTable:
        """The table of all rows of `view`; blocks while it is made, 0.15 microseconds a row that is new."""
        with self._lock:
            if self._newest.rows > view.rows:  # a question that began before others
                return PatternTable().grown(view)
            if self._newest.rows < view.rows:
                found = self._newest.grown(view)
                self._newest = found.shortened() if view.sealed else found
            return self._newest


def merge_tables(tables: Sequence[PatternTable]) -> PatternTable:
    """One table of the events of several (at least one), with `HOSTS_KEPT` hosts of a narrative and side at most."""
    numbers, places = _common_numbers([tuple(table.numbers) for table in tables])
    spans = Spans().sized(len(numbers))
    for table, here in zip(tables, places, strict=True):
        spans.add(here, table.spans)
    addresses, renumbered = _common_addresses(tables)
    source, destination = (
        _merge_pairs([table.sides[side] for table in tables], places, renumbered[side])
        for side in range(len(SIDES))
    )
    texts, of_texts = _common_numbers([_class_texts(table) for table in tables])
    return PatternTable(
        rows=sum(table.rows for table in tables),
        numbers=numbers,
        spans=spans,
        sides=(source, destination),
        classes=_merge_pairs([table.classes for table in tables], places, of_texts),
        addresses=addresses,
        texts=tuple(texts),
    ).shortened()


def _class_texts(table: PatternTable) -> list[str]:
    """The class of each key of the table's classes."""
    return [table.texts[code] for code in (table.classes.keys & _VALUE).tolist()]


def _common_numbers(several: Sequence[Sequence[str]]) -> tuple[dict[str, int], list[NDArray[np.int64]]]:
    """Numbers for the texts of several lists, each text once; and for each list those of its texts, int64 (n,)."""
    numbers: dict[str, int] = {}
    found = [
        np.fromiter((numbers.setdefault(text, len(numbers)) for text in texts), np.int64, len(texts))
        for texts in several
    ]
    return numbers, found


def _common_addresses(
    tables: Sequence[PatternTable],
) -> tuple[NDArray[np.uint8], list[list[NDArray[np.int64]]]]:
    """The hosts of some tables, each once, ascending (n, 16); by side and table the number of that of each key."""
    lists = [
        table.addresses[table.sides[side].keys & _VALUE] for side in range(len(SIDES)) for table in tables
    ]
    everything = np.concatenate([_NO_ADDRESSES, *lists])
    unique, numbers = np.unique(everything.view("V16").ravel(), return_inverse=True)
    parts = np.split(numbers.astype(np.int64), np.cumsum([len(one) for one in lists])[:-1])
    return unique.view(np.uint8).reshape(-1, ADDRESS_BYTES), [parts[: len(tables)], parts[len(tables) :]]


def _merge_pairs(
    several: Sequence[Pairs], places: Sequence[NDArray[np.int64]], values: Sequence[NDArray[np.int64]]
) -> Pairs:
    """Pairs of several tables; `places` renumbers the narratives of each, `values` has the new value of each key."""
    keys = [_NONE]
    keys += [
        (here[pairs.keys >> _SHIFT] << _SHIFT) | new
        for pairs, here, new in zip(several, places, values, strict=True)
    ]
    unique, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    events = np.zeros(len(unique), np.int64)
    np.add.at(events, inverse, np.concatenate([_NONE, *(pairs.events for pairs in several)]))
    merged = Pairs(unique, events)
    cut: dict[int, int] = {}
    for pairs, here in zip(several, places, strict=True):
        for number, count in pairs.cut.items():
            new = int(here[number])
            cut[new] = max(count, cut.get(new, len(merged.of(new)[0])))
    return replace(merged, cut=cut)
