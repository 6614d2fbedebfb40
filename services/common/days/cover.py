"""Balls that together hold all vectors of an index, so that a search can leave out those that are too far away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from services.common.days.vector_lists import LEAST_IN_A_LIST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.common.days.vector_lists import Lists
    from services.common.days.vectors import Vectors

ROUNDING = 1e-5
"""The share by which a distance of 32-bit floats may be wrong, with room to spare: sums of 384 differ by less."""
_BLOCK = 4_096


@dataclass(frozen=True)
class Cover:
    """n vectors in lists: the centre of each list, and how far the farthest of its vectors is from it, Euclidean.

    The vectors of list i are those at the places `starts[i]` to `starts[i + 1]`; `numbers` gives the vector at a place
    where these are not the same. Immutable; safe for several threads.
    """

    centers: NDArray[np.float32]  # (lists, dim)
    apart: NDArray[np.float32]  # (n,) how far the vector at each place is from its centre
    radii: NDArray[np.float32]  # (lists,) the largest of these
    starts: NDArray[np.int64]  # (lists + 1,)
    numbers: NDArray[np.int64] | None
    nprobe: int  # lists that are enough of it, as measured when the day was sealed; all where it was not
    excess: float  # how far the squared length of a vector is from 1 at most


def euclidean(query: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far each of `vectors` (n, dim) is from the query (dim,), float32 (n,), but for rounding."""
    items, dim = vectors.shape
    found = np.empty(items, np.float32)
    if items:
        distances: Any = faiss.fvec_L2sqr_ny  # type: ignore[attr-defined] # not in its type stubs
        distances(*map(faiss.swig_ptr, (found, query, vectors)), dim, items)
    return np.asarray(np.sqrt(found), np.float32)


def cover(vectors: Vectors, lists: Lists | None) -> Cover:
    """Cover vectors (items, dim), at least one, by the lists in which they are stored, or by new ones.

    The same vectors give the same cover. Blocks for a microsecond a vector, and for decoding them.
    """
    if lists is None:
        return _spread(np.ascontiguousarray(vectors, np.float32))
    apart = np.empty(len(vectors), np.float32)
    excess = 0.0
    for start in range(0, len(vectors), _BLOCK):
        places = np.arange(start, min(start + _BLOCK, len(vectors)))
        here = np.asarray(vectors[start : start + _BLOCK])
        excess = max(excess, _excess(here))
        here = here - lists.centers[lists.of(places)]
        apart[places] = np.sqrt(np.einsum("ij,ij->i", here, here))
    starts = lists.starts.astype(np.int64)
    return Cover(
        np.asarray(lists.centers), apart, _largest(apart, starts), starts, None, lists.nprobe, excess
    )


def _spread(vectors: NDArray[np.float32]) -> Cover:
    """Balls about vectors that are far from each other: the next centre is the vector farthest from those before.

    No other centres give balls of less than half the radius: Gonzalez, Theoretical Computer Science 38, 1985.
    """
    items = len(vectors)
    most = -(-items // LEAST_IN_A_LIST)
    centers = [0]
    apart, nearest = euclidean(vectors[0], vectors), np.zeros(items, np.int64)
    while len(centers) < most and apart.max() > 0:
        centers.append(int(apart.argmax()))
        distances = euclidean(vectors[centers[-1]], vectors)
        nearer = distances < apart
        nearest[nearer] = len(centers) - 1
        apart[nearer] = distances[nearer]
    numbers = np.argsort(nearest, kind="stable")
    starts = nearest[numbers].searchsorted(np.arange(len(centers) + 1))
    apart = apart[numbers]
    return Cover(
        vectors[centers], apart, _largest(apart, starts), starts, numbers, len(centers), _excess(vectors)
    )


def _largest(apart: NDArray[np.float32], starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """The radius of each ball, float32 (lists,); a list may be empty."""
    radii = np.zeros(len(starts) - 1, np.float32)
    full = np.flatnonzero(np.diff(starts))
    radii[full] = np.maximum.reduceat(apart, starts[full])
    return radii


def _excess(vectors: NDArray[np.float32]) -> float:
    return float(np.abs(np.einsum("ij,ij->i", vectors, vectors) - 1.0).max())
