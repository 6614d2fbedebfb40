"""Nearest neighbours over the distinct vectors of one index of one segment, and the rows that have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import faiss
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.common.days.open_writer import VectorSpec

GATHER_BLOCK = 65_536
GATHER_UP_TO = 4096
"""Up to so many vectors that pass a filter are compared one by one; the approximate index is asked for among more."""
NO_VECTOR = np.iinfo(np.uint32).max
"""The vector number of a row that has none: a benign event that sampling left out."""
EXTRA = 16
"""So many more than k are asked of faiss, whose distances |a|^2 - 2ab + |b|^2 are rounded and may swap neighbours."""
SORT_UP_TO = 256
"""Rows of the vectors found that are sorted at once; with more, each vector's rows are looked at alone."""
REFINE = 4
"""How many times k the accelerator is asked for, before the exact distances decide."""


class Vectors(Protocol):
    """Distinct vectors of an index, float32 (items, dim): an array, or what reads like one. Immutable; any thread."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, which: Any, /) -> Any:
        """One vector (dim,) by number, or several (n, dim) by slice or array of numbers; may be copied or mapped."""
        ...

    def __array__(self) -> NDArray[Any]:
        """All of them; blocks while they are decoded, where they are kept in a smaller form."""
        ...


@dataclass(frozen=True)
class Postings:
    """Rows ordered by their vector: those of vector v are `order[starts[v]:starts[v + 1]]`, ascending."""

    order: NDArray[np.uint32]
    starts: NDArray[np.uint32]


class Accelerator(Protocol):
    """Names the vectors that may be near, so that not all have to be compared. Immutable; any thread."""

    def candidates(
        self, query: NDArray[np.float32], wanted: int, passing: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """Numbers of vectors near `query` (dim,), in no order: at least `wanted`, where so many there are.

        Args:
            query: float32 (dim,).
            wanted: how many at least.
            passing: (items,), which vectors to choose from; None for all.
        """
        ...


@dataclass(frozen=True)
class Neighbours:
    """Rows of one segment, the nearest first: rows int64 (m,), distances float32 (m,).

    A distance is Euclidean for the metric "l2" and 1 - cosine for "cosine".
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float32]

    def first(self, k: int) -> Neighbours:
        """At most k of them, the nearest."""
        return Neighbours(self.rows[:k], self.distances[:k])


@dataclass(frozen=True)
class _Choice:
    """Which rows of the vectors found are wanted: those of the mask (rows,), `alike` of a vector, near in time."""

    near: Nearness
    mask: NDArray[np.bool_] | None
    alike: int


@dataclass(frozen=True)
class VectorIndex:
    """One index of one segment as it was committed at one moment. Immutable; safe for several threads.

    `vectors` is float32 (items, dim), usually a mapped file; `codes` gives each of `rows` rows the number of its
    vector or `NO_VECTOR`, and is None where row i has vector i. Only the hours of an open day change below it, when
    events come late: see docs/formats.md.
    """

    spec: VectorSpec
    rows: int
    vectors: Vectors
    codes: NDArray[np.uint32] | None = None
    postings: Postings | None = None
    accelerator: Accelerator | None = None
    owner: object = None  # keeps a mapping alive that `vectors` shows
    left_out: int = 0  # rows that sampling left without a vector
    hidden: int = 0  # at most so many vectors are of rows beyond `rows` only

    def vector(self, row: int) -> NDArray[np.float32]:
        """The vector of a row, float32 (dim,). Raises `IndexError` where the row has none (yet)."""
        if not self.has(row):
            raise IndexError(f"row {row} has no vector in index {self.spec.index} of {self.rows} rows")
        return np.array(self.vectors[row if self.codes is None else int(self.codes[row])])

    def has(self, row: int) -> bool:
        """Whether a row has a vector: it may lie behind what was written, or have been left out by sampling."""
        return row < self.rows and (self.codes is None or bool(self.codes[row] != NO_VECTOR))

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        near: Nearness,
        selected: NDArray[np.int64] | None = None,
        alike: int | None = None,
    ) -> Neighbours:
        """The k nearest rows to `query` (dim,), exact where no accelerator is asked.

        Args:
            query: float32 (dim,).
            k: how many rows at most.
            near: decides among rows of the same vector.
            selected: ascending rows to search in; None for all.
            alike: at most so many rows of one vector, the nearest in time; None for all.
        """
        if selected is not None:
            selected = selected[: np.searchsorted(selected, self.rows)]
        if k < 1 or not self.rows or (selected is not None and not len(selected)):
            return Neighbours(np.empty(0, np.int64), np.empty(0, np.float32))
        mask = None
        if selected is not None:
            mask = np.zeros(self.rows, bool)
            mask[selected] = True
        ids, distances = self._nearest(query, k + self.hidden, selected)
        return self._expand(ids, distances, k, _Choice(near, mask, k if alike is None else min(alike, k)))

    def distinct(self, query: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The numbers and distances of the k nearest distinct vectors to `query` (dim,), the nearest first."""
        return self._nearest(query, k, None)

    def distances(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The exact distance of each row from `query` (dim,), float32 (len(rows),); infinite where not indexed."""
        known = rows < self.rows
        result = np.full(len(rows), np.inf, np.float32)
        ids = rows[known] if self.codes is None else self.codes[rows[known]]
        if self.codes is not None:
            known[known] = ids != NO_VECTOR
            ids = ids[ids != NO_VECTOR]
        result[known] = self._measure(query, np.asarray(self.vectors[ids]))
        return result

    def _measure(self, query: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.spec.metric == "cosine":
            # Not `@`: BLAS would wake threads of its own for so small a product.
            cosines = np.einsum("ij,j->i", vectors, query)
            return np.asarray(np.maximum(1.0 - cosines, 0.0), np.float32)
        differences = vectors - query
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", differences, differences)), np.float32)

    def _nearest(
        self, query: NDArray[np.float32], k: int, selected: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Distinct vectors, nearest first, and their distances."""
        passing = None if selected is None else self._passing(selected)
        count = len(self.vectors) if passing is None else int(np.count_nonzero(passing))
        if self.accelerator is not None and (passing is None or count > GATHER_UP_TO):
            wanted = min(max(REFINE * k, 64), count)
            return self._exact(query, k, self.accelerator.candidates(query, wanted, passing))
        return self._exact(query, k, None if passing is None else np.flatnonzero(passing))

    def _passing(self, selected: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which vectors one of the selected rows has; a mask takes a tenth of the time of sorting the codes."""
        passing = np.zeros(len(self.vectors) + 1, bool)  # one more for the rows that have none
        codes = selected if self.codes is None else np.minimum(self.codes[selected], len(self.vectors))
        passing[codes] = True
        return passing[:-1]

    def _exact(
        self, query: NDArray[np.float32], k: int, ids: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k nearest of the vectors `ids`, of all where that is None, by comparison with each."""
        found = [(np.empty(0, np.int64), np.empty(0, np.float32))]
        for start in range(0, len(self.vectors) if ids is None else len(ids), GATHER_BLOCK):
            part = slice(start, start + GATHER_BLOCK) if ids is None else ids[start : start + GATHER_BLOCK]
            places, distances = self._knn(query, k, np.asarray(self.vectors[part]))
            found.append((places + start if isinstance(part, slice) else part[places], distances))
        return self._refine(query, k, _merge(found, k + EXTRA)[0])

    def _knn(
        self, query: NDArray[np.float32], k: int, vectors: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        metric = faiss.METRIC_INNER_PRODUCT if self.spec.metric == "cosine" else faiss.METRIC_L2
        values, ids = faiss.knn(query[None], vectors, min(k + EXTRA, len(vectors)), metric=metric)
        return ids[0], self._as_distance(values[0])

    def _as_distance(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.spec.metric == "cosine":
            return np.asarray(np.maximum(1.0 - values, 0.0), np.float32)
        return np.asarray(np.sqrt(np.maximum(values, 0.0)), np.float32)

    def _refine(
        self, query: NDArray[np.float32], k: int, candidates: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k nearest of some vectors by distances that are exact, so that equal vectors have distance 0."""
        distances = self._measure(query, np.asarray(self.vectors[candidates]))
        return _merge([(candidates, distances)], k)

    def rows_of(self, vector: int) -> NDArray[np.int64]:
        """The rows that have a vector, ascending, int64."""
        if self.codes is None:
            return np.array([vector], np.int64)
        if self.postings is None:
            return np.flatnonzero(self.codes == vector)
        start, end = self.postings.starts[vector : vector + 2].tolist()
        return self.postings.order[start:end].astype(np.int64)

    def _expand(
        self,
        ids: NDArray[np.int64],
        distances: NDArray[np.float32],
        k: int,
        choice: _Choice,
    ) -> Neighbours:
        """From vectors to at most k rows; among rows of one vector `choice` decides."""
        if self.codes is None:
            return Neighbours(ids[:k], distances[:k])
        if self.postings is not None:
            starts = self.postings.starts[ids].astype(np.int64)
            counts = self.postings.starts[ids + 1] - starts
            if choice.mask is None:
                needed = int(np.searchsorted(np.cumsum(np.minimum(counts, choice.alike)), k)) + 1
                ids, distances = ids[:needed], distances[:needed]
                starts, counts = self._near_in_time(starts[:needed], counts[:needed], choice)
            if counts.sum() <= SORT_UP_TO:
                return self._expand_at_once(starts, counts, distances, choice).first(k)
        return self._expand_one_by_one(ids, distances, k, choice)

    def _near_in_time(
        self, starts: NDArray[np.int64], counts: NDArray[np.int64], choice: _Choice
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The stretches of the postings in which the rows lie that `choice` can want, where times ascend."""
        if self.postings is None or not choice.near.ascending:
            return starts, counts
        now = np.searchsorted(choice.near.time_ns, choice.near.moment_ns)
        starts, ends = starts.copy(), starts + counts
        for number in np.flatnonzero(counts > 2 * choice.alike).tolist():
            start, end = int(starts[number]), int(ends[number])
            place = start + int(np.searchsorted(self.postings.order[start:end], now))
            starts[number], ends[number] = max(place - choice.alike, start), min(place + choice.alike, end)
        return starts, ends - starts

    def _expand_at_once(
        self,
        starts: NDArray[np.int64],
        counts: NDArray[np.int64],
        distances: NDArray[np.float32],
        choice: _Choice,
    ) -> Neighbours:
        """All rows of some vectors, given by where their postings start and how many they are."""
        near, mask = choice.near, choice.mask
        order = np.empty(0, np.uint32) if self.postings is None else self.postings.order
        ranks = np.repeat(np.arange(len(counts)), counts)
        offsets = np.arange(len(ranks)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = order[starts[ranks] + offsets].astype(np.int64)
        if mask is not None:
            passing = mask[rows]
            rows, ranks = rows[passing], ranks[passing]
        best = np.lexsort((near.gaps(rows), ranks))
        if choice.alike < len(best):
            sorted_ranks = ranks[best]
            best = best[np.arange(len(best)) - np.searchsorted(sorted_ranks, sorted_ranks) < choice.alike]
        return Neighbours(rows[best], distances[ranks[best]])

    def _expand_one_by_one(
        self,
        ids: NDArray[np.int64],
        distances: NDArray[np.float32],
        k: int,
        choice: _Choice,
    ) -> Neighbours:
        """As `_expand`, without sorting all rows of a vector that very many have."""
        near, mask = choice.near, choice.mask
        rows: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        values: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
        room = k
        for vector, distance in zip(ids.tolist(), distances.tolist(), strict=True):
            found = self.rows_of(vector)
            if mask is not None:
                found = found[mask[found]]
            found = near.pick(found, min(room, choice.alike))
            rows.append(found)
            values.append(np.full(len(found), distance, np.float32))
            room -= len(found)
            if room < 1:
                break
        return Neighbours(np.concatenate(rows), np.concatenate(values))


@dataclass(frozen=True)
class Nearness:
    """Decides among rows that are equally like the query: those nearest in time to `moment_ns` first.

    `ascending` says that times ascend with the rows, as on sealed days: the nearest of very many are then found without
    looking at all of them.
    """

    time_ns: NDArray[np.int64]
    moment_ns: int
    ascending: bool = False

    def gaps(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How far each of `rows` is from the moment, nanoseconds, int64 (len(rows),)."""
        return np.abs(self.time_ns[rows] - self.moment_ns)

    def pick(self, rows: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        """At most k of `rows`, which ascend, the nearest in time first."""
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


def _merge(
    parts: list[tuple[NDArray[np.int64], NDArray[np.float32]]], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    ids = np.concatenate([part[0] for part in parts])
    distances = np.concatenate([part[1] for part in parts])
    order = np.argsort(distances, kind="stable")[:k]
    return ids[order], distances[order]
