"""Distinct vectors of an index: equal ones are kept once, and each row points at its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Embedded:
    """Distinct vectors, float32 (items, dim), and for each row the number of its vector, uint32 (rows,).

    A row that has none has `vectors.NO_VECTOR`.
    """

    vectors: NDArray[np.float32]
    codes: NDArray[np.uint32]


class DistinctVectors:
    """Collects vectors and keeps equal ones once, known by 16 bytes of their BLAKE2b."""

    def __init__(self, dim: int) -> None:
        """Begin with no vector of `dim` components."""
        self._known: dict[bytes, int] = {}
        self._parts: list[NDArray[np.float32]] = [np.empty((0, dim), np.float32)]

    def __len__(self) -> int:
        """Count the distinct vectors."""
        return len(self._known)

    def add(self, vectors: NDArray[np.float32]) -> NDArray[np.uint32]:
        """The number of each vector (n, dim), uint32 (n,)."""
        known, codes, new = self._known, np.empty(len(vectors), np.uint32), []
        for i, vector in enumerate(np.ascontiguousarray(vectors)):
            key = hashlib.blake2b(vector, digest_size=16).digest()
            code = known.get(key)
            if code is None:
                code = known[key] = len(known)
                new.append(i)
            codes[i] = code
        self._parts.append(vectors[new])
        return codes

    @property
    def newest(self) -> NDArray[np.float32]:
        """Those of the last `add` that were new, float32 (m, dim)."""
        return self._parts[-1]

    def vectors(self) -> NDArray[np.float32]:
        """All distinct vectors, float32 (items, dim)."""
        return np.concatenate(self._parts)
