"""Balls that together hold all vectors of an index, so that a search can leave out those that are too far away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.vector_lists import Lists, make_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.common.days.vectors import Vectors

ROUNDING = 1e-5
"""The share by which a distance of 32-bit floats may be wrong, with room to spare: sums of 384 differ by less."""
_BLOCK = 16_384
_ROUNDS = 2


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


def cover(vectors: Vectors, lists: Lists | None) -> Cover:
    """Cover vectors (items, dim), at least one, by the lists in which they are stored, or by new ones.

    The same vectors give the same cover. Blocks for a microsecond a vector, and for decoding them.
    """
    numbers = None
    if lists is None:
        lists, numbers = make_lists(np.asarray(vectors), _ROUNDS)
    starts = lists.starts.astype(np.int64)
    apart = np.empty(len(vectors), np.float32)
    excess = 0.0
    for start in range(0, len(vectors), _BLOCK):
        places = np.arange(start, min(start + _BLOCK, len(vectors)))
        here = np.asarray(vectors[places if numbers is None else numbers[places]])
        excess = max(excess, float(np.abs(np.einsum("ij,ij->i", here, here) - 1.0).max()))
        here = here - lists.centers[lists.of(places)]
        apart[places] = np.sqrt(np.einsum("ij,ij->i", here, here))
    radii = np.zeros(len(lists.centers), np.float32)
    np.maximum.at(radii, lists.of(np.arange(len(vectors))), apart)
    return Cover(np.asarray(lists.centers), apart, radii, starts, numbers, lists.nprobe, excess)
