"""From the vectors that are nearest to the rows that have them, of equally near ones those nearest in time first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from services.common.days.selection import Postings, Selection

    RowsOfVectors = tuple[NDArray[np.int64], NDArray[np.int64]]

HEAVY = 1024
"""A vector of more rows is looked at alone, about the moment that is asked for; the others all at once."""
SORT_UP_TO = 256
"""Rows of the vectors found that are sorted at once; of more, those of each vector are looked at alone."""
SMALL = 1 << 14
"""Up to so many chosen rows are looked through for those of the vectors found."""
_REACH = 128


@dataclass(frozen=True)
class Nearness:
    """Decides among rows that are equally like the query: those nearest in time to `moment_ns` first.

    `ascending` says that times ascend with the rows, as on sealed days: the nearest of very many are then found without
    looking at all of them.
    """

    time_ns: NDArray[np.int64]
    moment_ns: int
    ascending: bool = False

    def _shown_around(self, rows: NDArray[np.int64], k: int, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Of `rows`, whose times ascend, the k that the mask shows before the moment and the k after it."""
        place = int(np.searchsorted(rows, np.searchsorted(self.time_ns, self.moment_ns)))
        reach = max(4 * k, _REACH)
        while True:
            before, after = rows[max(place - reach, 0) : place], rows[place : place + reach]
            before, after = before[mask[before]], after[mask[after]]
            ends = place <= reach, place + reach >= len(rows)
            if (len(before) >= k or ends[0]) and (len(after) >= k or ends[1]):
                return np.concatenate((before[-k:], after[:k]))
            reach *= 8

    def gaps(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How far each of `rows` is from the moment, nanoseconds, int64 (len(rows),)."""
        return np.abs(self.time_ns[rows] - self.moment_ns)

    def pick(
        self, rows: NDArray[np.int64], k: int, mask: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """At most k of `rows`, which ascend, that the mask (all rows,) shows, the nearest in time first."""
        if mask is not None:
            rows = self._shown_around(rows, k, mask) if self.ascending else rows[mask[rows]]
        if len(rows) == 1:
            return rows
        if self.ascending and len(rows) > 2 * k:
            place = int(np.searchsorted(rows, np.searchsorted(self.time_ns, self.moment_ns)))
            rows = rows[max(place - k, 0) : place + k]
        gaps = self.gaps(rows)
        if len(rows) > k:
            # Of equal gaps the first rows: what `argpartition` takes differs from processor to processor.
            most = np.partition(gaps, k - 1)[k - 1]
            equal = np.flatnonzero(gaps == most)
            chosen = np.sort(np.concatenate([np.flatnonzero(gaps < most), equal])[:k])
            rows, gaps = rows[chosen], gaps[chosen]
        return rows[np.argsort(gaps, kind="stable")]


@dataclass(frozen=True)
class Choice:
    """Which rows of the vectors found are wanted: those that were chosen, `alike` of a vector, near in time."""

    near: Nearness
    chosen: Selection | None
    alike: int

    @property
    def is_small(self) -> bool:
        """Whether going through the rows that were chosen costs less than through those of the vectors found."""
        return self.chosen is not None and self.chosen.count <= SMALL


def expand_few(
    codes: NDArray[np.uint32], items: int, vectors: NDArray[np.int64], k: int, choice: Choice
) -> RowsOfVectors:
    """As `expand` where `choice` is small; `codes` (rows,) gives the vector of each row, of which there are `items`."""
    rows = np.empty(0, np.int64) if choice.chosen is None else choice.chosen.rows
    place_of = np.full(items + 1, -1, np.int32)  # one more for rows without a vector
    place_of[vectors] = np.arange(len(vectors))
    places = place_of.take(np.minimum(codes.take(rows), items))
    found = places >= 0
    return _in_order(rows[found], places[found].astype(np.int64), k, choice)


def expand(postings: Postings, vectors: NDArray[np.int64], k: int, choice: Choice) -> RowsOfVectors:
    """The first k rows of some vectors, or more, and for each the place of its vector in `vectors`; int64 both."""
    starts, counts = postings.stretches(vectors)
    mask = None if choice.chosen is None else choice.chosen.mask
    if mask is None:
        needed = int(np.searchsorted(np.cumsum(np.minimum(counts, choice.alike)), k)) + 1
        starts, counts = _near_in_time(postings, (starts[:needed], counts[:needed]), choice)
        if counts.sum() <= SORT_UP_TO:
            return _sorted(
                postings.rows_in(starts, counts), np.repeat(np.arange(len(counts)), counts), choice
            )
    heavy = counts > HEAVY
    light = np.where(heavy, 0, counts)
    rows, places = postings.rows_in(starts, light), np.repeat(np.arange(len(light)), light)
    if mask is not None:
        shown = mask.take(rows)
        rows, places = rows[shown], places[shown]
    found = np.cumsum(np.minimum(np.bincount(places, minlength=len(light)), choice.alike))
    more: list[NDArray[np.int64]] = []
    alone = np.flatnonzero(heavy).tolist()
    for place in alone:
        if found[place] + sum(map(len, more)) >= k:
            break
        one = slice(place, place + 1)
        more.append(np.sort(_pick(postings.rows_in(starts[one], counts[one]), k, choice)))
    more_places = np.repeat(np.array(alone[: len(more)], np.int64), list(map(len, more)))
    return _in_order(np.concatenate([rows, *more]), np.concatenate([places, more_places]), k, choice)


def rows_about(postings: Postings, vectors: NDArray[np.int64], choice: Choice) -> RowsOfVectors:
    """As `expand` where all rows are wanted, in no order: of each vector `choice.alike` nearest in time, and others."""
    starts, counts = _near_in_time(postings, postings.stretches(vectors), choice)
    return postings.rows_in(starts, counts), np.repeat(np.arange(len(counts)), counts)


def _in_order(rows: NDArray[np.int64], places: NDArray[np.int64], k: int, choice: Choice) -> RowsOfVectors:
    """The first k or more of rows that are all wanted, those of each vector ascending; as `expand`."""
    counts = np.bincount(places)
    needed = int(np.searchsorted(np.cumsum(np.minimum(counts, choice.alike)), k)) + 1
    if needed < len(counts):
        kept = places < needed
        rows, places = rows[kept], places[kept]
    if len(rows) > SORT_UP_TO:
        of_each = (rows[places == place] for place in range(min(needed, len(counts))))
        return expand_one_by_one(of_each, k, replace(choice, chosen=None))
    return _sorted(rows, places, choice)


def _sorted(rows: NDArray[np.int64], places: NDArray[np.int64], choice: Choice) -> RowsOfVectors:
    """Rows that are all wanted by place and nearness in time, of each place `alike`."""
    best = np.lexsort((choice.near.gaps(rows), places))
    if choice.alike < len(best):
        ordered = places[best]
        best = best[np.arange(len(best)) - np.searchsorted(ordered, ordered) < choice.alike]
    return rows[best], places[best]


def _near_in_time(postings: Postings, stretches: RowsOfVectors, choice: Choice) -> RowsOfVectors:
    """The stretches of the postings in which the rows lie that `choice` can want, where times ascend."""
    starts, counts = stretches
    if not choice.near.ascending:
        return stretches
    many = np.flatnonzero(counts > 2 * choice.alike).tolist()
    if not many:
        return stretches
    # Of the type of the rows: of another one, each would be converted first.
    now = np.uint32(choice.near.time_ns.searchsorted(choice.near.moment_ns))
    starts, ends = starts.copy(), starts + counts
    for number in many:
        start, end = int(starts[number]), int(ends[number])
        place = start + int(postings.order[start:end].searchsorted(now))
        starts[number], ends[number] = max(place - choice.alike, start), min(place + choice.alike, end)
    return starts, ends - starts


def expand_one_by_one(rows_of_each: Iterable[NDArray[np.int64]], k: int, choice: Choice) -> RowsOfVectors:
    """As `expand`, for vectors whose rows are found one after the other."""
    rows: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    places: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    room = k
    for place, found in enumerate(rows_of_each):
        picked = _pick(found, room, choice)
        rows.append(picked)
        places.append(np.full(len(picked), place))
        room -= len(picked)
        if room < 1:
            break
    return np.concatenate(rows), np.concatenate(places)


def _pick(rows: NDArray[np.int64], room: int, choice: Choice) -> NDArray[np.int64]:
    mask = None if choice.chosen is None else choice.chosen.mask
    return choice.near.pick(rows, min(room, choice.alike), mask)
