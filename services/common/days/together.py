"""Nearest neighbours over indices of one model, searched as if they were one: far days cost nothing.

The vectors of each index lie in balls (`cover`). Those in the balls nearest to the query say how far the k-th nearest
row is at most; by the triangle inequality a ball that begins beyond has none of the answer. Decision 0017 measures it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.cover import ROUNDING, euclidean
from services.common.days.fusion import RESOLUTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.common.days.cover import Cover
    from services.common.days.vectors import VectorIndex

_SEEDS, _PER_SEED = 64, 4
"""Balls that are looked into first at most, and how many vectors for each row that is wanted."""
_BLOCK = 4_096
"""Vectors that are copied at once: they stay in the processor's cache, and little memory is taken."""
_MOST_KEPT = 8


@dataclass(frozen=True)
class Depth:
    """How many rows are wanted, and of one vector at most `alike`."""

    k: int
    alike: int

    def limit(self, distances: NDArray[np.float32], rows: NDArray[np.integer]) -> float:
        """How far the k-th nearest row is at most, where vectors at `distances` (m,) have so many `rows` (m,)."""
        if len(distances) > self.k:
            near = distances <= np.partition(distances, self.k - 1)[self.k - 1]
            distances, rows = distances[near], rows[near]
        order = distances.argsort()
        place = int(np.minimum(rows[order], self.alike).cumsum().searchsorted(self.k))
        return float(distances[order[place]]) if place < len(order) else np.inf


@dataclass(frozen=True)
class Near:
    """m vectors of several indices that may have the nearest rows, in the order of indices and places."""

    indices: NDArray[np.int64]  # the number of the index of each
    numbers: NDArray[np.int64]  # its number there
    distances: NDArray[np.float32]  # exact
    rows: NDArray[np.int32]  # how many rows have it, at least

    def take(self, which: Any) -> Near:
        """Some of them, by slice, numbers or mask."""
        return Near(self.indices[which], self.numbers[which], self.distances[which], self.rows[which])

    @classmethod
    def join(cls, several: Sequence[Near]) -> Near:
        """All of them (at least one), one after the other."""
        return cls(
            np.concatenate([near.indices for near in several]),
            np.concatenate([near.numbers for near in several]),
            np.concatenate([near.distances for near in several]),
            np.concatenate([near.rows for near in several]),
        )


class Together:
    """Several indices of one model whose vectors are covered. Immutable; safe for several threads.

    A place counts the vectors of all indices, ball after ball.
    """

    def __init__(self, indices: Sequence[VectorIndex]) -> None:
        """Bring the covers together, which all have; blocks while those are made that were not needed before."""
        self.indices = tuple(indices)
        covers = self._covers = [index.cover for index in indices if index.cover is not None]
        lists = [len(cover.radii) for cover in covers]
        self._centers = np.concatenate([cover.centers for cover in covers])
        self._radii = np.concatenate([cover.radii for cover in covers])
        self._apart = np.concatenate([cover.apart for cover in covers])
        self._index_of = np.repeat(np.arange(len(covers)), lists)
        self._nprobe = np.array([cover.nprobe for cover in covers])
        self._excess = max(cover.excess for cover in covers)
        self._offsets = np.cumsum([0, *(cover.starts[-1] for cover in covers)])
        starts = zip(covers, self._offsets.tolist(), strict=False)
        self._starts = np.concatenate([cover.starts[:-1] + offset for cover, offset in starts])
        self._sizes = np.diff(self._starts, append=self._offsets[-1])
        self._rows = np.concatenate([_rows_in_places(*pair) for pair in zip(indices, covers, strict=True)])

    def near(self, query: NDArray[np.float32], depth: Depth, among: NDArray[np.bool_]) -> Near:
        """The vectors that have the nearest rows, and those at the same distance; perhaps some more.

        Exact, but where more than its `nprobe` lists of an index are near: of these only the nearest are looked into.

        Args:
            query: float32 (dim,).
            depth: how many rows are wanted.
            among: (indices,), which to look into.
        """
        gaps = euclidean(query, self._centers)
        if not among.all():
            gaps[~among[self._index_of]] = np.inf
        seeds = self._seeds(gaps, depth.k)
        places = self._places(seeds)
        distances = self._measure(query, places)
        reach = self._reach(query, depth.limit(distances, self._rows[places]))
        others = self._within(gaps, seeds, reach)
        places = np.concatenate((places, others))
        distances = np.concatenate((distances, self._measure(query, others)))
        reach = self._reach(query, depth.limit(distances, self._rows[places]))
        return self._exact(query, np.sort(places[distances <= reach]))

    def _seeds(self, gaps: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """The numbers of some balls nearest to the query, ascending, that hold at least k vectors."""
        held = np.empty(0, np.int64)
        for most in (_SEEDS, len(gaps)):
            some = np.argpartition(gaps, most)[:most] if most < len(gaps) else np.arange(len(gaps))
            some = some[np.isfinite(gaps[some])]
            some = some[np.argsort(gaps[some], kind="stable")]
            held = self._sizes[some].cumsum()
            if len(held) and held[-1] >= k:
                break
        return np.sort(some[: int(held.searchsorted(_PER_SEED * k)) + 1])

    def _within(self, gaps: NDArray[np.float32], seeds: NDArray[np.int64], reach: float) -> NDArray[np.int64]:
        """The places, ascending, that may be within reach, but for those in the seeds; see `near` for exactness.

        A vector is at least as far from the query as the difference of how far both are from the same centre.
        """
        gaps = gaps.copy()
        gaps[seeds] = np.inf
        near = np.isfinite(gaps) & (gaps * np.float32(1 - ROUNDING) - self._radii <= reach)
        lists = self._enough(np.flatnonzero(near), gaps)
        places = self._places(lists)
        far = np.repeat(gaps[lists], self._sizes[lists])
        kept = np.abs(far - self._apart[places]) <= reach + far * np.float32(2 * ROUNDING)
        return places.compress(kept)

    def _enough(self, lists: NDArray[np.int64], gaps: NDArray[np.float32]) -> NDArray[np.int64]:
        """Of some balls, ascending, those that are enough: of each index the `nprobe` nearest."""
        of_each = self._index_of[lists]
        many = np.flatnonzero(np.bincount(of_each, minlength=len(self.indices)) > self._nprobe)
        kept = np.ones(len(lists), bool)
        for index in many.tolist():
            here = np.flatnonzero(of_each == index)
            kept[here[np.argsort(gaps[lists[here]], kind="stable")[self._nprobe[index] :]]] = False
        return lists[kept]

    def _reach(self, query: NDArray[np.float32], limit: float) -> float:
        """Up to which Euclidean distance vectors may be as near as one at `limit`, by the metric of the indices."""
        if self.indices[0].spec.metric == "cosine":
            # |q - x|^2 = |q|^2 + |x|^2 - 2 + 2 (1 - qx), where the lengths are nearly 1.
            excess = self._excess + abs(float(query @ query) - 1.0)
            limit = float(np.sqrt(limit**2 + 2 * excess + 4 * RESOLUTION))
        return limit * (1 + ROUNDING) + 2 * RESOLUTION

    def _places(self, lists: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places in some balls."""
        counts = self._sizes[lists]
        ends = counts.cumsum()
        places = np.arange(int(ends[-1]) if len(ends) else 0)
        places += np.repeat(self._starts[lists] - (ends - counts), counts)
        return places

    def _measure(self, query: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
        """How far the vectors in some places, which ascend, are from the query, but for rounding."""
        blocks = [places[start : start + _BLOCK] for start in range(0, len(places), _BLOCK)]
        measured = [euclidean(query, self._vectors(block)) for block in blocks]
        return np.concatenate([np.empty(0, np.float32), *measured])

    def _exact(self, query: NDArray[np.float32], places: NDArray[np.int64]) -> Near:
        """The vectors in some places, which ascend."""
        indices = self._offsets.searchsorted(places, "right") - 1
        distances = self.indices[0].measure(query, self._vectors(places))
        return Near(indices, self._numbers(places), distances, self._rows[places])

    def _vectors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors in some places (m,), which ascend, float32 (m, dim)."""
        found = np.empty((len(places), self._centers.shape[1]), np.float32)
        for index, here in self._by_index(places):
            found[here] = self.indices[index].vectors[self._in_index(index, places[here])]
        return found

    def _numbers(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the vector in each of some places, which ascend, in its index."""
        found = np.empty(len(places), np.int64)
        for index, here in self._by_index(places):
            found[here] = self._in_index(index, places[here])
        return found

    def _by_index(self, places: NDArray[np.int64]) -> list[tuple[int, slice]]:
        """Which of some places, which ascend, are in which index; only indices that have some."""
        ends = places.searchsorted(self._offsets).tolist()
        return [(index, slice(*pair)) for index, pair in enumerate(pairwise(ends)) if pair[0] < pair[1]]

    def _in_index(self, index: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
        own: NDArray[np.int64] = places - self._offsets[index]
        numbers = self._covers[index].numbers
        return own if numbers is None else numbers[own]


class TogetherBook:
    """Remembers what was brought together. Safe for several threads."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, ...], Together] = OrderedDict()

    def of(self, indices: Sequence[VectorIndex]) -> Together:
        """These indices of one model, at least one, together; blocks while it is made, as `Together`."""
        key = tuple(map(id, indices))
        with self._lock:
            # What is kept keeps its indices: no other one can have their identity.
            found = self._kept.pop(key, None) or Together(indices)
            self._kept[key] = found
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
            return found


def _rows_in_places(index: VectorIndex, covered: Cover) -> NDArray[np.int32]:
    """How many rows have the vector at each place of a cover, int32 (items,)."""
    if index.postings is None:
        return np.ones(len(index.vectors), np.int32)
    counts = np.diff(index.postings.starts).astype(np.int32)
    return counts if covered.numbers is None else counts[covered.numbers]
