"""Smaller forms of vectors: what is kept is how a vector differs from the centre of its list, in a fixed size.

Plain 8-bit codes have one step a dimension for all vectors, and one far outlier makes it coarser than the distances
between near vectors. A difference from the centre, with a step of its own for each vector, does not suffer from that
(locally-adaptive vector quantization, Aguerrebere et al., VLDB 2023; product quantization, Jegou et al., TPAMI 2011).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import faiss
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.common.days.vector_lists import Lists

FP16, SQ8, PQ = "fp16", "sq8", "pq"
KINDS = (FP16, SQ8, PQ)

_LEVELS_8, _LEVELS_4 = 127, 7
_TINY = np.float32(1e-30)  # a step for differences that are all zero, so that nothing is divided by zero
_SUB = 4  # numbers that one byte of a product code stands for
_WORDS = 256
_TRAINED_ON = 16_384


class Encoding(Protocol):
    """Turns differences float32 (n, dim) into records of `dtype` (n,) and back. Immutable; any thread."""

    @property
    def dtype(self) -> np.dtype[np.void]:
        """How one vector lies on disk."""
        ...

    @property
    def codebook(self) -> NDArray[np.float32] | None:
        """What decoding needs beside the records; None for nothing."""
        ...

    def encode(self, differences: NDArray[np.float32]) -> NDArray[np.void]:
        """The records of some differences."""
        ...

    def decode(self, records: NDArray[np.void]) -> NDArray[np.float32]:
        """The differences, about. Each depends on its own record alone, so equal records give equal numbers."""
        ...


@dataclass(frozen=True)
class Halves:
    """16-bit floats (IEEE 754 binary16)."""

    dim: int

    @property
    def dtype(self) -> np.dtype[np.void]:
        """`dim` numbers."""
        return np.dtype([("code", "<f2", (self.dim,))])

    @property
    def codebook(self) -> None:
        """None is needed."""
        return

    def encode(self, differences: NDArray[np.float32]) -> NDArray[np.void]:
        """The records of some differences; numbers beyond 65504 become that."""
        records = np.zeros(len(differences), self.dtype)
        limit = float(np.finfo(np.float16).max)
        records["code"] = np.clip(differences, -limit, limit)
        return records

    def decode(self, records: NDArray[np.void]) -> NDArray[np.float32]:
        """The differences."""
        return records["code"].astype(np.float32)


@dataclass(frozen=True)
class Steps:
    """8 bits a number, -127 to 127, times a step of each vector."""

    dim: int

    @property
    def dtype(self) -> np.dtype[np.void]:
        """`dim` bytes, and the step."""
        return np.dtype([("code", "i1", (self.dim,)), ("step", "<f4")])

    @property
    def codebook(self) -> None:
        """None is needed."""
        return

    def encode(self, differences: NDArray[np.float32]) -> NDArray[np.void]:
        """The records of some differences."""
        records = np.zeros(len(differences), self.dtype)
        records["step"] = _steps(differences, _LEVELS_8)
        records["code"] = np.rint(differences / records["step"][:, None])
        return records

    def decode(self, records: NDArray[np.void]) -> NDArray[np.float32]:
        """The differences."""
        return np.asarray(records["code"] * records["step"][:, None], np.float32)


@dataclass(frozen=True)
class Products:
    """Each 4 numbers by the nearest of 256 words, refined by 4 bits a number times a step of each vector.

    `words` is float32 (dim / 4, 256, 4).
    """

    words: NDArray[np.float32]

    @property
    def dtype(self) -> np.dtype[np.void]:
        """The words in dim / 4 bytes, their refinement in dim / 2 (even numbers in the low half), and the step."""
        parts = len(self.words)
        return np.dtype([("word", "u1", (parts,)), ("code", "u1", (2 * parts,)), ("step", "<f4")])

    @property
    def codebook(self) -> NDArray[np.float32]:
        """The words."""
        return self.words

    def encode(self, differences: NDArray[np.float32]) -> NDArray[np.void]:
        """The records of some differences."""
        records = np.zeros(len(differences), self.dtype)
        for part, words in enumerate(self.words):
            mine = np.ascontiguousarray(differences[:, part * _SUB : (part + 1) * _SUB])
            records["word"][:, part] = faiss.knn(mine, np.ascontiguousarray(words), 1)[1][:, 0]
        rest = differences - self._named(records)
        records["step"] = _steps(rest, _LEVELS_4)
        levels = (np.rint(rest / records["step"][:, None]) + _LEVELS_4 + 1).astype(np.uint8)
        records["code"] = levels[:, ::2] | levels[:, 1::2] << 4
        return records

    def decode(self, records: NDArray[np.void]) -> NDArray[np.float32]:
        """The differences."""
        found = self._named(records)
        step, shift = records["step"][:, None], np.int8(_LEVELS_4 + 1)
        found[:, ::2] += ((records["code"] & 15).astype(np.int8) - shift) * step
        found[:, 1::2] += ((records["code"] >> 4).astype(np.int8) - shift) * step
        return found

    def _named(self, records: NDArray[np.void]) -> NDArray[np.float32]:
        parts = len(self.words)
        places = records["word"] + np.arange(parts) * _WORDS
        return self.words.reshape(parts * _WORDS, _SUB)[places].reshape(len(records), parts * _SUB)


def _steps(differences: NDArray[np.float32], levels: int) -> NDArray[np.float32]:
    """The step of each vector that makes its largest number the last level, float32 (n,)."""
    largest = np.abs(differences).max(axis=1) if differences.size else np.zeros(len(differences))
    return np.asarray(largest / levels + _TINY, np.float32)


def bytes_taken(kind: str, dim: int) -> tuple[int, int]:
    """How many bytes a vector takes in a form, and how many its codebook takes once."""
    if kind == FP16:
        return 2 * dim, 0
    if kind == SQ8:
        return dim + 4, 0
    return dim // _SUB + dim // 2 + 4, 4 * _WORDS * dim


def train_encoding(kind: str, differences: NDArray[np.float32]) -> Encoding | None:
    """The encoding of a kind for differences like these (n, dim); None where their dimension does not fit it.

    Blocks for some seconds for "pq". The same differences give the same encoding.
    """
    dim = differences.shape[1]
    if kind != PQ:
        return stored_encoding(kind, dim, None)
    if dim % _SUB or len(differences) < _WORDS:
        return None
    chosen = np.random.default_rng(2).choice(
        len(differences), min(len(differences), _TRAINED_ON), replace=False
    )
    training: Any = faiss.ProductQuantizer(dim, dim // _SUB, 8)
    training.cp.seed, training.cp.niter = 1234, 10
    training.cp.min_points_per_centroid, training.cp.max_points_per_centroid = 1, 64
    training.train(differences[np.sort(chosen)])
    words = faiss.vector_to_array(training.centroids).reshape(dim // _SUB, _WORDS, _SUB)
    return Products(np.array(words, np.float32))


def stored_encoding(kind: str, dim: int, codebook: NDArray[np.float32] | None) -> Encoding:
    """The encoding that records on disk were made by.

    Raises:
        ValueError: there is no such kind, or its codebook is missing.
    """
    if kind == FP16:
        return Halves(dim)
    if kind == SQ8:
        return Steps(dim)
    if kind != PQ or codebook is None:
        raise ValueError(f"there is no encoding {kind!r} with {'no' if codebook is None else 'a'} codebook")
    return Products(codebook.reshape(dim // _SUB, _WORDS, _SUB))


@dataclass(frozen=True)
class EncodedVectors:
    """Vectors that are kept as records and decoded when they are read. Reads like a float32 array (items, dim).

    `unit` makes every vector one of length 1 again, as those compared by their cosine are. Immutable; any thread.
    """

    records: NDArray[np.void]  # usually a mapped file
    encoding: Encoding
    lists: Lists
    unit: bool

    def __len__(self) -> int:
        """How many vectors there are."""
        return len(self.records)

    def __getitem__(self, which: Any) -> NDArray[np.float32]:
        """One vector (dim,), or several (n, dim), by number, slice or array of numbers."""
        numbers = np.arange(len(self.records))[which] if isinstance(which, slice) else np.asarray(which)
        decoded = self._decode(np.atleast_1d(numbers).astype(np.int64))
        return decoded if numbers.ndim else decoded[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float32]:  # noqa: FBT001 - numpy's
        """All of them. Blocks while they are decoded; takes 4 bytes a number."""
        if copy is False:
            raise ValueError("encoded vectors cannot be read as an array without copying")
        return np.asarray(self[:], dtype)

    def _decode(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        found = self.encoding.decode(self.records[numbers])
        found += self.lists.centers[self.lists.of(numbers)]
        if self.unit:
            found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), _TINY)
        return found
