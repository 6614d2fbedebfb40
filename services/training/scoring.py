"""How often the nearest events are of the same class, found as a replica finds them, for many queries at once.

The rules are those of `services/rag`: each day names its nearest rows, of one vector those nearest in time; the days
are merged by distance in steps of `fusion.RESOLUTION`, then by nearness in time. Fused answers rank what any index
named by the exact distances of all (`fusion.fuse`). Distances are exact here, also where a replica asks an
approximate index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import faiss
import numpy as np

from services.common.days.fusion import FusionWeights, by_score, fuse, quantized

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

K = 5
"""Neighbours that are looked at."""
FUSED_DEPTH = 50
"""Rows that each index names for a fused answer of five, as in `services/rag/searcher.py`."""
_EXTRA = 16  # as in services/common/days/vectors.py: faiss rounds, so a few more are asked for
_QUERIES = 128


@dataclass(frozen=True)
class Rows:
    """n events of some days: class text (n,), time int64 (n,) in nanoseconds since 1970, number of the day (n,)."""

    labels: NDArray[np.str_]
    time_ns: NDArray[np.int64]
    days: NDArray[np.int64]

    @staticmethod
    def of_one_day(labels: Sequence[str] | NDArray[np.str_], time_ns: NDArray[np.int64]) -> Rows:
        """Events that are searched as one day."""
        return Rows(np.asarray(labels), time_ns, np.zeros(len(time_ns), np.int64))


@dataclass(frozen=True)
class Space:
    """One index over n events: distinct vectors float32 (items, dim), and the number of each event's vector (n,).

    The number is -1 where the index lacks the event, which is then found by no query and finds nothing. The metric
    is "l2" or "cosine" (of vectors of length 1), as in a model's manifest.
    """

    metric: str
    vectors: NDArray[np.float32]
    codes: NDArray[np.int64]

    @staticmethod
    def of_rows(metric: str, vectors: NDArray[np.float32]) -> Space:
        """From the vector of each event, float32 (n, dim); equal ones are kept once."""
        vectors = np.ascontiguousarray(vectors, np.float32)
        _, first, codes = np.unique(_as_bytes(vectors), return_index=True, return_inverse=True)
        return Space(metric, vectors[first], codes.astype(np.int64))

    def distances(self, queries: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The exact distance of events from each of q queries, float32 (q, m); infinite where one has no vector.

        Args:
            queries: numbers of events, int64 (q,).
            rows: for each query the numbers of m events, int64 (q, m).
        """
        lacking = (self.codes[rows] < 0) | self.lacks(queries)[:, None]
        return np.where(lacking, np.float32(np.inf), self._exact(self.codes[queries], self.codes[rows]))

    def lacks(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which events have no vector, bool (n,)."""
        return self.codes[rows] < 0

    def nearest_vectors(
        self, queries: NDArray[np.int64], among: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """For each of q vectors the k nearest of some others by exact distance: numbers (q, m), distances (q, m).

        Args:
            queries: numbers of vectors, int64 (q,).
            among: the numbers of those to look at, int64.
            k: how many; m is the smaller of k and `len(among)`.
        """
        metric = faiss.METRIC_INNER_PRODUCT if self.metric == "cosine" else faiss.METRIC_L2
        wanted = min(k + _EXTRA, len(among))
        _, places = faiss.knn(self.vectors[queries], self.vectors[among], wanted, metric=metric)
        found = among[places]
        distances = self._exact(queries, found)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(found, order, 1), np.take_along_axis(distances, order, 1)

    def _exact(self, queries: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float32]:
        near, wanted = self.vectors[others], self.vectors[queries]
        if self.metric == "cosine":
            return np.asarray(np.maximum(1.0 - np.einsum("qmd,qd->qm", near, wanted), 0.0), np.float32)
        return np.asarray(np.linalg.norm(near - wanted[:, None], axis=2), np.float32)


@dataclass(frozen=True)
class Named:
    """Rows that an index names for each of q queries, nearest first: int64 (q, m), -1 where it has fewer than m."""

    rows: NDArray[np.int64]
    distances: NDArray[np.float32]  # (q, m), infinite where the row is -1


class Base:
    """The rows of one day that are searched in one index, ordered by their vector and then by time."""

    def __init__(self, rows: Rows, space: Space, chosen: NDArray[np.int64]) -> None:
        """Order the events `chosen`, int64."""
        self._space = space
        self._times = np.unique(rows.time_ns[chosen])
        self.used, vectors = np.unique(space.codes[chosen], return_inverse=True)
        order = np.lexsort((chosen, rows.time_ns[chosen], vectors))
        self._rows = chosen[order]
        self._gap_from = rows.time_ns
        self._keys = self._key(vectors[order], rows.time_ns[self._rows])
        self._starts = np.searchsorted(vectors[order], np.arange(len(self.used) + 1))

    def _key(self, vectors: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ascending by vector, then by time."""
        return vectors * (len(self._times) + 1) + np.searchsorted(self._times, times)

    def nearest(self, queries: NDArray[np.int64], k: int) -> Named:
        """The k rows nearest to each of q queries, those of one vector by nearness in time."""
        distinct, which = np.unique(self._space.codes[queries], return_inverse=True)
        found, distances = self._space.nearest_vectors(distinct, self.used, k)
        places = np.searchsorted(self.used, found)[which]
        return self._expand(queries, places, distances[which], k)

    def _expand(
        self, queries: NDArray[np.int64], places: NDArray[np.int64], distances: NDArray[np.float32], k: int
    ) -> Named:
        """From vectors (q, m) to the first k of their rows."""
        counts = self._starts[places + 1] - self._starts[places]
        needed = np.cumsum(counts, axis=1) - counts < k
        asked, nth = np.nonzero(needed)
        vectors = places[asked, nth]
        moments = self._gap_from[queries[asked]]
        middle = np.searchsorted(self._keys, self._key(vectors, moments))
        first = np.maximum(middle - k, self._starts[vectors])
        lengths = np.minimum(middle + k, self._starts[vectors + 1]) - first
        flat = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = self._rows[np.repeat(first, lengths) + flat]
        owners, ranks = np.repeat(asked, lengths), np.repeat(nth, lengths)
        gaps = np.abs(self._gap_from[rows] - np.repeat(moments, lengths))
        order = np.lexsort((gaps, ranks, owners))
        return _table(owners[order], rows[order], distances[owners, ranks][order], (len(queries), k))


def _table(
    owners: NDArray[np.intp], rows: NDArray[np.int64], distances: NDArray[np.float32], shape: tuple[int, int]
) -> Named:
    """The first columns of each owner's rows, given ordered by owner."""
    counts = np.bincount(owners, minlength=shape[0])
    column = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    fits = column < shape[1]
    table, far = np.full(shape, -1, np.int64), np.full(shape, np.inf, np.float32)
    table[owners[fits], column[fits]] = rows[fits]
    far[owners[fits], column[fits]] = distances[fits]
    return Named(table, far)


@dataclass(frozen=True)
class Searches:
    """Asks about events of `rows` among those of the base."""

    rows: Rows
    base: NDArray[np.bool_]  # (n,)

    def nearest(self, space: Space, queries: NDArray[np.int64], k: int = K) -> NDArray[np.int64]:
        """The events nearest to each of q queries in one index, int64 (q, k), -1 where there are fewer.

        Args:
            space: the index.
            queries: numbers of events, int64 (q,), none of them in the base.
            k: how many neighbours.
        """
        bases = self._bases(space)
        blocks = [self._named(bases, space, block, k + 1).rows[:, :k] for block in _blocks(queries)]
        return np.concatenate([np.empty((0, k), np.int64), *blocks])

    def fused(
        self, spaces: Mapping[str, Space], queries: NDArray[np.int64], weights: FusionWeights | None = None
    ) -> NDArray[np.int64]:
        """The `K` events nearest to each of q queries, fused over several indices, int64 (q, K), as `nearest`."""
        bases = {index: self._bases(space) for index, space in spaces.items()}
        weights = weights or FusionWeights()
        found = np.full((len(queries), K), -1, np.int64)
        for number, block in enumerate(_blocks(queries)):
            named = [
                self._named(bases[index], space, block, FUSED_DEPTH).rows for index, space in spaces.items()
            ]
            union = _union(np.concatenate(named, axis=1))
            distances = {index: space.distances(block, union) for index, space in spaces.items()}
            for i in range(len(block)):
                known = union[i] >= 0
                scores = fuse({index: values[i, known] for index, values in distances.items()}, weights)
                rows = union[i, known]
                gaps = np.abs(self.rows.time_ns[rows] - self.rows.time_ns[block[i]])
                best = rows[by_score(scores, gaps)[:K]]
                found[number * _QUERIES + i, : len(best)] = best
        return found

    def _bases(self, space: Space) -> list[Base]:
        there = self.base & (space.codes >= 0)
        chosen = [np.flatnonzero(there & (self.rows.days == day)) for day in np.unique(self.rows.days)]
        return [Base(self.rows, space, rows) for rows in chosen if len(rows)]

    def _named(self, bases: Sequence[Base], space: Space, queries: NDArray[np.int64], k: int) -> Named:
        """The k nearest over all days, of equal ones those nearest in time first."""
        parts = [base.nearest(queries, k) for base in bases]
        nothing = np.full((len(queries), k), -1), np.full((len(queries), k), np.inf, np.float32)
        rows = np.concatenate([nothing[0], *(part.rows for part in parts)], axis=1)
        distances = np.concatenate([nothing[1], *(part.distances for part in parts)], axis=1)
        rows[space.lacks(queries)] = -1
        gaps = np.abs(self.rows.time_ns[rows] - self.rows.time_ns[queries][:, None])
        best = np.lexsort((gaps, quantized(distances)), axis=1)[:, :k]
        return Named(np.take_along_axis(rows, best, 1), np.take_along_axis(distances, best, 1))


def _union(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each row of a query once, ascending, -1 in the place of what was there before: (q, m)."""
    ordered = np.sort(rows, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = -1
    return ordered


def _blocks(queries: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (queries[start : start + _QUERIES] for start in range(0, len(queries), _QUERIES))


def _as_bytes(vectors: NDArray[np.float32]) -> NDArray[np.void]:
    return vectors.view(np.dtype((np.void, vectors.shape[1] * 4)))[:, 0]


@dataclass(frozen=True)
class Scores:
    """Same-class precision@5: over all events, the mean over the classes, and of each class."""

    overall: float
    macro: float
    classes: dict[str, float]
    counts: dict[str, int]  # queries of each class


def score(
    labels: NDArray[np.str_],
    queries: NDArray[np.int64],
    found: NDArray[np.int64],
    totals: Mapping[str, int] | None = None,
) -> Scores:
    """Score the neighbours (q, k) of q queries; a neighbour that is missing (-1) counts as of another class.

    Args:
        labels: the class of every event, text (n,).
        queries: numbers of events, int64 (q,), at least one.
        found: their neighbours, as `Searches.nearest` gives them.
        totals: how much each class weighs overall, where only some of its events are asked about; None: as it is.
    """
    same = (labels[found] == labels[queries][:, None]) & (found >= 0)
    precisions = same.mean(axis=1)
    asked = labels[queries]
    names = [str(name) for name in np.unique(asked)]
    classes = {name: float(precisions[asked == name].mean()) for name in names}
    counts = {name: int(np.count_nonzero(asked == name)) for name in names}
    values = list(classes.values())
    weights = [(totals or counts)[name] for name in names]
    return Scores(float(np.average(values, weights=weights)), float(np.mean(values)), classes, counts)


def confusion(
    labels: NDArray[np.str_], queries: NDArray[np.int64], found: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """For each class of the queries, of which classes its neighbours are: shares that sum to 1, the largest first."""
    table: dict[str, dict[str, float]] = {}
    for name in np.unique(labels[queries]):
        rows = found[labels[queries] == name]
        near, counts = np.unique(labels[rows[rows >= 0]], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        table[str(name)] = {str(near[i]): float(counts[i] / counts.sum()) for i in order}
    return table
