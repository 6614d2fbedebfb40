"""Nearest neighbours over the distinct vectors of one index of one segment, and the rows that have them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import faiss
import numpy as np

from services.common.days.cover import Cover, cover
from services.common.days.expansion import Choice, expand, expand_few, expand_one_by_one
from services.common.days.selection import Selection
from services.common.days.vector_lists import Lists

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.common.days.expansion import Nearness
    from services.common.days.open_writer import VectorSpec
    from services.common.days.selection import Postings

GATHER_BLOCK = 65_536
GATHER_UP_TO = 2048
"""Up to so many vectors that pass a filter are compared one by one; the approximate index is asked for among more."""
MANY, MANY_ROWS = 0.2, 1 << 15
"""The share of the rows, and how many, from which on it pays to look among the nearest of all for those that pass."""
NEAREST_TRIED = 2
"""So many times those of which k should pass are the nearest looked at where a filter lets many pass."""
LEAST_WANTED = 64
NO_VECTOR = np.iinfo(np.uint32).max
"""The vector number of a row that has none: a benign event that sampling left out."""
EXTRA = 16
"""So many more than k are asked of faiss, whose distances |a|^2 - 2ab + |b|^2 are rounded and may swap neighbours."""
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
        selected: Selection | NDArray[np.int64] | None = None,
        alike: int | None = None,
    ) -> Neighbours:
        """The k nearest rows to `query` (dim,), exact where no accelerator is asked.

        Args:
            query: float32 (dim,).
            k: how many rows at most.
            near: decides among rows of the same vector.
            selected: the rows to search in, or their numbers, ascending; None for all.
            alike: at most so many rows of one vector, the nearest in time; None for all.
        """
        chosen = self._chosen(selected)
        if k < 1 or not self.rows or (chosen is not None and not chosen.count):
            return Neighbours(np.empty(0, np.int64), np.empty(0, np.float32))
        choice = Choice(near, chosen, k if alike is None else min(alike, k))
        return self.expand(*self._nearest(query, k + self.hidden, chosen), k, choice)

    def near(
        self, query: NDArray[np.float32], k: int, chosen: Selection | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The numbers and distances of the distinct vectors that have the k nearest rows, the nearest first.

        `chosen` are the rows to search in, None for all; `expand` gives the rows.
        """
        chosen = self._chosen(chosen)
        if k < 1 or not self.rows or (chosen is not None and not chosen.count):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        return self._nearest(query, k + self.hidden, chosen)

    def _chosen(self, selected: Selection | NDArray[np.int64] | None) -> Selection | None:
        if isinstance(selected, np.ndarray):
            return Selection.of_rows(selected[: np.searchsorted(selected, self.rows)], self.rows)
        return None if selected is None else selected.up_to(self.rows)

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
        result[known] = self.measure(query, np.asarray(self.vectors[ids]))
        return result

    def measure(self, query: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The exact distance of each of `vectors` (n, dim) from `query` (dim,), float32 (n,)."""
        if self.spec.metric == "cosine":
            # Not `@`: BLAS would wake threads of its own for so small a product.
            cosines = np.einsum("ij,j->i", vectors, query)
            return np.asarray(np.maximum(1.0 - cosines, 0.0), np.float32)
        differences = vectors - query
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", differences, differences)), np.float32)

    def _nearest(
        self, query: NDArray[np.float32], k: int, chosen: Selection | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Distinct vectors, nearest first, and their distances."""
        wanted = max(REFINE * k, LEAST_WANTED)
        if chosen is None:
            return self._exact(query, k, self._candidates(query, wanted, None))
        near = self._among_nearest(query, k, chosen)
        if near is not None:
            return self._exact(query, k, near)
        passing = self._passing(chosen)
        count = int(np.count_nonzero(passing))
        if self.accelerator is not None and count > GATHER_UP_TO:
            return self._exact(query, k, self._candidates(query, min(wanted, count), passing))
        return self._exact(query, k, np.flatnonzero(passing))

    def _candidates(
        self, query: NDArray[np.float32], wanted: int, passing: NDArray[np.bool_] | None
    ) -> NDArray[np.int64] | None:
        """At least `wanted` vectors that may be near; None for all."""
        if self.accelerator is None:
            return None
        return self.accelerator.candidates(query, min(wanted, len(self.vectors)), passing)

    def _among_nearest(
        self, query: NDArray[np.float32], k: int, chosen: Selection
    ) -> NDArray[np.int64] | None:
        """The k and more vectors nearest to the query that pass; None where it is not cheap to say.

        Of many that pass many are near, so only these have to be looked at.
        """
        share = chosen.count / self.rows
        if share < MANY or chosen.count < MANY_ROWS or (self.codes is not None and self.postings is None):
            return None
        wanted = k if self.accelerator is None else max(NEAREST_TRIED * k, LEAST_WANTED)
        ids = self._candidates(query, wanted, None)
        if ids is None and NEAREST_TRIED * k < share * len(self.vectors):
            ids = self._exact(query, int(NEAREST_TRIED * k / share), None)[0]
        if ids is None or len(ids) * share < wanted / 2:
            return None
        passing = chosen.mask[ids] if self.postings is None else self.postings.passing(ids, chosen.mask)
        return ids[passing] if passing is not None and np.count_nonzero(passing) >= wanted else None

    def _passing(self, chosen: Selection) -> NDArray[np.bool_]:
        """Which vectors one of the rows has; a mask takes a tenth of the time of sorting the codes."""
        passing = np.zeros(len(self.vectors) + 1, bool)  # one more for the rows that have none
        rows = chosen.rows
        codes = rows if self.codes is None else np.minimum(self.codes.take(rows), len(self.vectors))
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
        distances = self.measure(query, np.asarray(self.vectors[candidates]))
        return _merge([(candidates, distances)], k)

    @cached_property
    def cover(self) -> Cover | None:
        """Balls about its vectors; None where it cannot be covered. Blocks the first time, as `cover`."""
        lists = self.accelerator
        known = self.codes is None or self.postings is not None
        if not known or not len(self.vectors) or not (lists is None or isinstance(lists, Lists)):
            return None
        return cover(self.vectors, lists)

    def rows_of(self, vector: int) -> NDArray[np.int64]:
        """The rows that have a vector, ascending, int64."""
        if self.codes is None:
            return np.array([vector], np.int64)
        if self.postings is None:
            return np.flatnonzero(self.codes == vector)
        start, end = self.postings.starts[vector : vector + 2].tolist()
        return self.postings.order[start:end].astype(np.int64)

    def expand(
        self, ids: NDArray[np.int64], distances: NDArray[np.float32], k: int, choice: Choice
    ) -> Neighbours:
        """From vectors to at most k rows; among rows of one vector `choice` decides."""
        if self.codes is None:
            return Neighbours(ids[:k], distances[:k])
        if choice.chosen is not None:
            choice = replace(choice, chosen=choice.chosen.up_to(self.rows))
        if choice.is_small:
            rows, places = expand_few(self.codes, len(self.vectors), ids, k, choice)
        elif self.postings is None:
            rows, places = expand_one_by_one(map(self.rows_of, ids.tolist()), k, choice)
        else:
            rows, places = expand(self.postings, ids, k, choice)
        return Neighbours(rows, distances[places]).first(k)


def _merge(
    parts: list[tuple[NDArray[np.int64], NDArray[np.float32]]], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    ids = np.concatenate([part[0] for part in parts])
    distances = np.concatenate([part[1] for part in parts])
    order = np.argsort(distances, kind="stable")[:k]
    return ids[order], distances[order]
