"""Lists of near vectors: a search looks into those nearest to the query only (inverted file, Jegou et al., TPAMI 2011).

Vectors are numbered list after list, so a list is a range of numbers and needs neither ids nor a second copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDEN = 8
"""How many times as many lists are looked into when those nearest to the query hold too little that passes."""
LEAST_IN_A_LIST = 32
_TRAINED_ON = 48
"""Vectors of a list, on average, that its centre is found from."""
_ROUNDS = 8


@dataclass(frozen=True)
class Lists:
    """The centre of each list, float32 (lists, dim), and where it begins, uint32 (lists + 1,).

    A search looks into the nearest `nprobe`. Immutable; safe for several threads.
    """

    centers: NDArray[np.float32]
    starts: NDArray[np.uint32]
    nprobe: int

    @property
    def nbytes(self) -> int:
        """What the centres and beginnings take."""
        return self.centers.nbytes + self.starts.nbytes

    def candidates(
        self, query: NDArray[np.float32], wanted: int, passing: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """Numbers of the vectors in the lists nearest to `query`; more lists until `wanted` of them pass."""
        probes = min(self.nprobe, len(self.centers))
        while True:
            _, nearest = faiss.knn(query[None], self.centers, probes)
            found = self._members(nearest[0])
            if passing is not None:
                found = found[passing[found]]
            if len(found) >= wanted or probes == len(self.centers):
                return found
            probes = min(probes * WIDEN, len(self.centers))

    def of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The list of each vector, int64 (len(numbers),)."""
        return np.searchsorted(self.starts, numbers, side="right").astype(np.int64) - 1

    def _members(self, lists: NDArray[np.int64]) -> NDArray[np.int64]:
        starts = self.starts[lists].astype(np.int64)
        counts = self.starts[lists + 1] - starts
        offsets = np.repeat(starts - (np.cumsum(counts) - counts), counts)
        return np.asarray(np.arange(len(offsets)) + offsets, np.int64)


@dataclass(frozen=True)
class FaissLists:
    """An IVF index of faiss over the same vectors, as days of format 1 have beside them (decision 0005)."""

    index: Any  # faiss.IndexIVF; faiss has no types
    nprobe: int

    def candidates(
        self, query: NDArray[np.float32], wanted: int, passing: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """Numbers of the `wanted` vectors that the index finds nearest, in more lists until there are so many."""
        parameters: Any = faiss.SearchParametersIVF()
        parameters.nprobe = self.nprobe
        if passing is not None:
            bitmap = np.packbits(passing, bitorder="little")
            make_selector: Any = (
                faiss.IDSelectorBitmap
            )  # faiss types the C++ signature, not that of its wrapper
            parameters.sel = make_selector(bitmap)
        while True:
            _, found = self.index.search(query[None], wanted, params=parameters)
            numbers: NDArray[np.int64] = found[0][found[0] >= 0]
            if len(numbers) >= wanted or parameters.nprobe >= self.index.nlist:
                return numbers
            parameters.nprobe = min(parameters.nprobe * WIDEN, self.index.nlist)


def make_lists(vectors: NDArray[np.float32]) -> tuple[Lists, NDArray[np.int64]]:
    """Lists over `vectors` (items, dim), and the order in which these are then numbered, int64 (items,).

    Blocks for about a second per hundred thousand vectors of 64 numbers. The same vectors give the same lists.
    """
    items, dim = vectors.shape
    count = 1 << max(int(np.log2(max(min(4 * np.sqrt(items), items / LEAST_IN_A_LIST), 1))), 0)
    sample = np.random.default_rng(0).choice(items, min(items, _TRAINED_ON * count), replace=False)
    clustering: Any = faiss.Kmeans(
        dim, count, niter=_ROUNDS, seed=1234, min_points_per_centroid=1, max_points_per_centroid=_TRAINED_ON
    )
    clustering.train(vectors[np.sort(sample)])
    centers = np.array(clustering.centroids, np.float32)
    _, nearest = faiss.knn(vectors, centers, 1)
    order = np.argsort(nearest[:, 0], kind="stable")
    starts = np.searchsorted(nearest[order, 0], np.arange(count + 1)).astype(np.uint32)
    return Lists(centers, starts, count), order.astype(np.int64)
