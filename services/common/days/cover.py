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
    radii: NDArray[np.float32]  # (lists,)
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
    radii = np.zeros(len(lists.centers), np.float32)
    excess = 0.0
    for start in range(0, len(vectors), _BLOCK):
        places = np.arange(start, min(start + _BLOCK, len(vectors)))
        here = np.asarray(vectors[places if numbers is None else numbers[places]])
        of_each = lists.of(places)
        apart = here - lists.centers[of_each]
        np.maximum.at(radii, of_each, np.sqrt(np.einsum("ij,ij->i", apart, apart)))
        excess = max(excess, float(np.abs(np.einsum("ij,ij->i", here, here) - 1.0).max()))
    return Cover(
        centers=np.asarray(lists.centers),
        radii=radii * np.float32(1 + ROUNDING),
        starts=lists.starts.astype(np.int64),
        numbers=numbers,
        nprobe=lists.nprobe,
        excess=excess,
    )
