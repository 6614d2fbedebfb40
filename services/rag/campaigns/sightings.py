"""Sightings: the events that matter of one day that are the same in words and come from one host.

They are what campaigns are linked from. A flood with forged senders must not make a sighting of each: where a narrative
of a day has more than `MOST_SOURCES` sources only those that have much of it are sightings of their own; the rest is
told apart by destination, and where these are as many not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from services.rag.judged import JUDGED, mattering
from services.rag.numbering import host_numbers, text_numbers
from services.rag.scope import EVERY_INDEX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.rag.events import Place
    from services.rag.scope import Part, Scope

MOST_SOURCES = 64
MOST_SIGHTINGS = 4096
"""Of more, those with the newest last event are linked, and the receipt names the days of the others."""
MOST_EVENTS = 4_000_000
"""Events that are looked at, 48 bytes each; the days before are left out, and the receipt says so."""

_NAMES = ("category", "label", "class")  # what an event is called, by the first of these that says something
EVENT = np.dtype(
    [
        ("part", "<i4"),  # number of the part of the scope
        ("row", "<i4"),  # row there
        ("day", "<i4"),  # number in `Sightings.days`
        ("time_ns", "<i8"),  # nanoseconds since 1970
        ("src", "<i4"),  # number in `Sightings.addresses`
        ("dst", "<i4"),
        ("overall", "<f4"),  # threat score
        ("narrative", "<i4"),  # number in `Sightings.texts`
        ("class", "<i4"),
        ("kind", "<i4"),  # its category, or else label, or class
    ]
)
_DAY_BITS, _HOST_BITS = 32, 33


@dataclass(frozen=True)
class Sightings:
    """n events that matter and their s sightings, these by their first event.

    `table` is (n,) of dtype `EVENT`, ordered by sighting, then by time; those of sighting i are `starts[i]` to
    `starts[i + 1]`. A sighting with `alike` is known by its one source.
    """

    table: NDArray[Any]
    starts: NDArray[np.int64]  # (s + 1,)
    alike: NDArray[np.bool_]  # (s,) whether all its events have the same source
    days: Sequence[str]
    addresses: Sequence[bytes]
    texts: Sequence[str]

    def __len__(self) -> int:
        """How many sightings there are."""
        return len(self.starts) - 1

    def events(self, number: int) -> NDArray[Any]:
        """The events of a sighting, by time."""
        return self.table[self.starts[number] : self.starts[number + 1]]

    @cached_property
    def of_events(self) -> NDArray[np.int64]:
        """The sighting of each event."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @cached_property
    def firsts(self) -> NDArray[Any]:
        """The first event of each sighting, (s,) of dtype `EVENT`."""
        return self.table[self.starts[:-1]]

    def hosts(self, side: str) -> NDArray[np.int64]:
        """Which sightings have which hosts on a side, each pair once, int64 (m, 2) by host, then by sighting."""
        pairs = np.unique(self.table[side].astype(np.int64) << _DAY_BITS | self.of_events)
        return np.stack([pairs & ((1 << _DAY_BITS) - 1), pairs >> _DAY_BITS], axis=1)


def gather(scope: Scope, seed: Place | None = None, *, everything: bool = False) -> Sightings:
    """The sightings of a scope, the newest day first while there is time and room.

    Args:
        scope: what to look into.
        seed: an event to begin with; those of its segment with its narrative and source are taken in, even where they
            do not matter.
        everything: whether all events of the scope matter, because somebody asked for just these.

    Raises:
        RequestError: the time was over before the first day.
    """
    names: tuple[dict[str, int], dict[bytes, int], dict[str, int]] = {}, {}, {}
    tables, room = [np.empty(0, EVENT)], MOST_EVENTS
    for number in reversed(range(len(scope.parts))):
        part = scope.parts[number]
        if not scope.begin(part.view.day, EVERY_INDEX):
            continue
        rows = _rows(part, seed, everything=everything)
        if len(rows) > room:
            scope.miss(
                part.view.day,
                EVERY_INDEX,
                f"left out: more than {MOST_EVENTS:,} events matter; narrow the filters",
            )
            room = 0
        elif len(rows):
            room -= len(rows)
            tables.append(_table(number, part, rows, names))
    table = np.concatenate(tables)
    keys, alike = _keys(table)
    found = _grouped(table, keys, alike)
    days, hosts, texts = names
    return _newest(scope, Sightings(*found, tuple(days), tuple(hosts), tuple(texts)))


def _rows(part: Part, seed: Place | None, *, everything: bool) -> NDArray[np.int64]:
    view = part.view
    rows = np.arange(view.rows, dtype=np.int64) if part.rows is None else part.rows
    if not everything:
        rows = rows[mattering({name: view.columns[name][rows] for name in JUDGED}, view.texts)]
    if seed is None or seed.view is not view:
        return rows
    alike = np.ones(view.rows, bool)
    for name in ("narrative", "src_ip"):
        alike &= view.columns[name][: view.rows] == view.columns[name][seed.row]
    return np.union1d(rows, np.flatnonzero(alike))


def _table(
    number: int,
    part: Part,
    rows: NDArray[np.int64],
    names: tuple[dict[str, int], dict[bytes, int], dict[str, int]],
) -> NDArray[Any]:
    view, (days, hosts, texts) = part.view, names
    table = np.zeros(len(rows), EVENT)
    table["part"], table["row"], table["day"] = number, rows, days.setdefault(view.day, len(days))
    table["time_ns"], table["overall"] = view.columns["time_ns"][rows], view.columns["overall"][rows]
    for side in ("src", "dst"):
        codes = np.asarray(view.columns[f"{side}_ip"][rows], np.int64)
        table[side] = host_numbers(view.addresses, codes, hosts)
    table["narrative"] = text_numbers(view, "narrative", rows, texts)
    kinds = np.full(len(rows), texts.setdefault("", len(texts)), np.int64)
    for name in _NAMES[::-1]:
        codes = text_numbers(view, name, rows, texts)
        said = np.array([bool(text.strip()) for text in texts])
        kinds = np.where(said[codes], codes, kinds)
        if name == "class":
            table[name] = codes
    table["kind"] = kinds
    return table


def _keys(table: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For each event a number that it has in common with its sighting, and whether that has one source."""
    _, patterns = np.unique(
        table["day"].astype(np.int64) << _DAY_BITS | table["narrative"], return_inverse=True
    )
    few_src, few_dst = (_has_few(patterns, table[side]) for side in ("src", "dst"))
    few_src |= _is_much(patterns, table["src"])
    host = np.where(few_src, table["src"], np.where(few_dst, table["dst"], 0)).astype(np.int64)
    return patterns.astype(np.int64) << _HOST_BITS | host << 1 | few_src, few_src


def _has_few(patterns: NDArray[np.int64], hosts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each event whether its pattern has at most `MOST_SOURCES` hosts on a side."""
    pairs = np.unique(patterns << _DAY_BITS | hosts)
    counts = np.bincount(pairs >> _DAY_BITS, minlength=int(patterns.max(initial=-1)) + 1)
    return np.asarray(counts[patterns] <= MOST_SOURCES)


def _is_much(patterns: NDArray[np.int64], hosts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each event whether its host has so much of its pattern that at most `MOST_SOURCES` hosts can."""
    _, pairs, events = np.unique(patterns << _DAY_BITS | hosts, return_inverse=True, return_counts=True)
    return np.asarray(events[pairs] * MOST_SOURCES >= np.bincount(patterns)[patterns])


def _grouped(
    table: NDArray[Any], keys: NDArray[np.int64], alike: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.bool_]]:
    """The events by sighting and time, where the events of each begin, and which have one source."""
    _, firsts, groups = np.unique(keys, return_index=True, return_inverse=True)
    earliest = np.full(len(firsts), np.iinfo(np.int64).max)
    np.minimum.at(earliest, groups, table["time_ns"])
    ranks = np.empty(len(firsts), np.int64)
    ranks[np.lexsort((np.arange(len(firsts)), earliest))] = np.arange(len(firsts))
    order = np.lexsort((table["row"], table["part"], table["time_ns"], ranks[groups]))
    counts = np.bincount(ranks[groups], minlength=len(firsts))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return table[order], starts, alike[order][starts[:-1]]


def _newest(scope: Scope, found: Sightings) -> Sightings:
    """At most `MOST_SIGHTINGS`, those with the newest last event."""
    left = len(found) - MOST_SIGHTINGS
    if left <= 0:
        return found
    kept = np.ones(len(found), bool)
    kept[np.argsort(found.table["time_ns"][found.starts[1:] - 1], kind="stable")[:left]] = False
    for day, count in zip(*np.unique(found.firsts["day"][~kept], return_counts=True), strict=True):
        scope.miss(
            found.days[day],
            EVERY_INDEX,
            f"{count:,} patterns left out: there are more than {MOST_SIGHTINGS:,}",
        )
    counts = np.diff(found.starts)
    return Sightings(
        found.table[kept[found.of_events]],
        np.concatenate([[0], np.cumsum(counts[kept])]).astype(np.int64),
        found.alike[kept],
        found.days,
        found.addresses,
        found.texts,
    )
