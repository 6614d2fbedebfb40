"""The nearest vector of an index to each of very many, at once: how far each is from everything there.

A search for one question compares it with the lists nearest to it. Here every list is visited once, with all the
questions that it may answer, so that a list is compared by one product of matrices (faiss).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from services.common.days.fusion import RESOLUTION
from services.common.days.vector_lists import FaissLists, Lists

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from services.common.days.vectors import VectorIndex

    Check = Callable[[], None]
    Found = tuple[NDArray[np.int64], NDArray[np.float32]]

BLOCK = 4096
"""Vectors that are compared in one piece; between two pieces the caller may end the search."""


def nearest_distances(index: VectorIndex, queries: NDArray[np.float32], check: Check) -> NDArray[np.float32]:
    """How far the nearest vector of an index is from each of `queries` (n, dim), float32 (n,).

    Infinite where the index has no vector. Exact where it has no lists; else that of the nearest vector in the lists
    that a question would look into, hence never too small. In steps of `fusion.RESOLUTION`, which hide the rounding.

    Args:
        index: what to compare with; the metric is its own.
        queries: float32 (n, dim), of the same model.
        check: called between pieces of at most some ten milliseconds; what it raises ends the search.
    """
    if not len(queries) or not committed(index):
        return np.full(len(queries), np.inf, np.float32)
    if isinstance(index.accelerator, Lists):
        ids = _in_lists(index, index.accelerator, queries, check)
    elif isinstance(index.accelerator, FaissLists):
        ids = _in_faiss_lists(index.accelerator, queries, check)
    else:
        ids = _among_all(index, queries, check)
    return _measured(index, queries, ids)


def committed(index: VectorIndex) -> int:
    """How many vectors belong to the rows of an index: the files of an open day may be written further."""
    if not index.hidden or index.codes is None:
        return len(index.vectors)
    return int(index.codes.max()) + 1 if index.rows else 0


def nearest_in(
    metric: str, queries: NDArray[np.float32], vectors: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each query (n, dim) the number of the nearest of `vectors` (m, dim), and how near it is, the less the nearer.

    The measure is 1 - cosine or the square of the Euclidean distance, as faiss rounds it.
    """
    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    values, ids = faiss.knn(queries, vectors, 1, metric=kind)
    return ids[:, 0], (1.0 - values[:, 0]) if metric == "cosine" else values[:, 0]


def distances_of(
    metric: str, queries: NDArray[np.float32], vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """How far each query (n, dim) is from the vector (n, dim) beside it, float32 (n,), in steps of `RESOLUTION`."""
    if metric == "cosine":
        found = np.maximum(1.0 - np.einsum("ij,ij->i", queries, vectors), 0.0)
    else:
        differences = queries - vectors
        found = np.sqrt(np.einsum("ij,ij->i", differences, differences))
    return np.asarray(np.rint(found.astype(np.float64) / RESOLUTION) * RESOLUTION, np.float32)


def _in_lists(
    index: VectorIndex, lists: Lists, queries: NDArray[np.float32], check: Check
) -> NDArray[np.int64]:
    wanted = min(lists.nprobe, len(lists.centers))
    _, chosen = faiss.knn(queries, lists.centers, wanted)
    order = np.argsort(chosen, axis=None, kind="stable")
    edges = np.searchsorted(chosen.ravel()[order], np.arange(len(lists.centers) + 1))
    best = _Best(len(queries))
    for number in np.flatnonzero(np.diff(edges)).tolist():
        start, end = lists.starts[number : number + 2].tolist()
        if start == end:
            continue
        check()
        who = order[edges[number] : edges[number + 1]] // wanted
        ids, values = nearest_in(index.spec.metric, queries[who], np.asarray(index.vectors[start:end]))
        best.take(who, (ids + start, values))
    return best.ids


def _in_faiss_lists(lists: FaissLists, queries: NDArray[np.float32], check: Check) -> NDArray[np.int64]:
    parameters: Any = faiss.SearchParametersIVF()
    parameters.nprobe = lists.nprobe
    found = [np.empty(0, np.int64)]
    for start in range(0, len(queries), BLOCK):
        check()
        found.append(lists.index.search(queries[start : start + BLOCK], 1, params=parameters)[1][:, 0])
    return np.concatenate(found)


def _among_all(index: VectorIndex, queries: NDArray[np.float32], check: Check) -> NDArray[np.int64]:
    best = _Best(len(queries))
    items = committed(index)
    for start in range(0, items, BLOCK):
        vectors = np.asarray(index.vectors[start : min(start + BLOCK, items)])
        for first in range(0, len(queries), BLOCK):
            check()
            who = np.arange(first, min(first + BLOCK, len(queries)))
            ids, values = nearest_in(index.spec.metric, queries[who], vectors)
            best.take(who, (ids + start, values))
    return best.ids


class _Best:
    """The nearest vector of each query so far; -1 for none."""

    def __init__(self, count: int) -> None:
        self.ids: NDArray[np.int64] = np.full(count, -1, np.int64)
        self._values = np.full(count, np.inf, np.float32)

    def take(self, who: NDArray[np.int64], found: Found) -> None:
        """Take in what was found for the queries `who`, each named once."""
        ids, values = found
        better = values < self._values[who]
        self.ids[who[better]] = ids[better]
        self._values[who[better]] = values[better]


def _measured(
    index: VectorIndex, queries: NDArray[np.float32], ids: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The distance of each query from the vector that was found for it, summed up as one by one."""
    result = np.full(len(queries), np.inf, np.float32)
    known = np.flatnonzero(ids >= 0)
    for start in range(0, len(known), BLOCK):
        which = known[start : start + BLOCK]
        result[which] = distances_of(index.spec.metric, queries[which], np.asarray(index.vectors[ids[which]]))
    return result
