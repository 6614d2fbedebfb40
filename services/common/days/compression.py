"""In which form the vectors of a sealed index are kept: the smallest of a policy that still finds the neighbours.

Each form is tried on the day's own vectors and measured against exact search over the 32-bit floats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from services.common.days.encodings import FP16, PQ, SQ8, EncodedVectors, bytes_taken, train_encoding
from services.common.days.vector_lists import make_lists
from services.common.days.vectors import VectorIndex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from services.common.days.open_writer import VectorSpec
    from services.common.days.policies import Compression
    from services.common.days.vector_lists import Lists
    from services.common.days.vectors import Vectors

FP32 = "fp32"
SMALLER: Mapping[str, tuple[str, ...]] = {"fast": (), "balanced": (SQ8, FP16), "maximum": (PQ, SQ8, FP16)}
"""The forms that a policy tries, the smallest first; where none is good enough the vectors stay fp32."""

EXACT_NUMBERS = 400_000
"""Up to so many numbers in all vectors together an exact search takes 0.05 ms, and no lists are made for fp32."""
SMALL = 1_000
"""Fewer vectors are kept as fp32: their centres alone would take a large part of what is saved."""
WORTH = 0.8
"""A smaller form has to take at most this share of the bytes of fp32."""
LEAST_RECALL = 0.99
"""What a smaller form has to reach, two standard errors of its measurement left aside."""
OF_EXACT = 0.999
"""Of what exact search over the same form finds, the lists that are looked into have to find so much."""
K = 10
_ASKED = 500
_CLOSE = 1e-5
_PROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Form:
    """The form that was chosen for some vectors, and why.

    `vectors` is in the order in which they are to be stored: its number i is the given number `order[i]`.
    """

    kind: str  # "fp32" or one of `encodings.KINDS`
    vectors: Vectors  # float32 array or EncodedVectors
    order: NDArray[np.int64]
    lists: Lists | None
    recall: float  # recall@10 against exact search over fp32
    bytes_per_vector: float
    passed_over: tuple[str, ...]  # why forms before it in the ladder were not taken, one phrase each


def choose_form(vectors: NDArray[np.float32], spec: VectorSpec, compression: Compression) -> Form:
    """Find the form of a policy for the distinct vectors (items, dim) of a day.

    Blocks for seconds with a hundred thousand vectors. The same vectors give the same form.
    """
    items = len(vectors)
    smaller = SMALLER[compression]
    many = vectors.size > EXACT_NUMBERS
    passed_over: list[str] = []
    if items < SMALL and smaller:
        passed_over.append(f"smaller forms: {items} vectors are too few")
        smaller = ()
    if smaller or many:
        lists, order = make_lists(vectors)
        trial = _Trial(vectors[order], spec, lists)
        for kind in sorted(smaller, key=trial.size):
            found = trial.attempt(kind)
            if not isinstance(found, str):
                return replace(found, order=order, passed_over=tuple(passed_over))
            passed_over.append(f"{kind}: {found}")
        if many:
            return replace(trial.whole(), order=order, passed_over=tuple(passed_over))
    size = 4.0 * vectors.shape[1]
    return Form(FP32, vectors, np.arange(items), None, 1.0, size, tuple(passed_over))


class _Trial:
    """Tries forms on the vectors of a day, which are in the order of `lists`."""

    def __init__(self, vectors: NDArray[np.float32], spec: VectorSpec, lists: Lists) -> None:
        self._vectors, self._spec, self._lists = vectors, spec, lists
        self._asked = np.random.default_rng(1).choice(len(vectors), min(_ASKED, len(vectors)), replace=False)
        self._limits = self._exact_limits()

    def size(self, kind: str) -> float:
        """The bytes of a vector in a form, its part of what is kept once among them."""
        one, once = bytes_taken(kind, self._spec.dim)
        return one + (once + self._lists.nbytes) / len(self._vectors)

    def attempt(self, kind: str) -> Form | str:
        """The form of this kind, or why it is no good."""
        size = self.size(kind)
        if size > WORTH * 4 * self._spec.dim:
            return f"takes {size:.0f} of {4 * self._spec.dim} bytes a vector"
        differences = self._vectors - self._lists.centers[self._lists.of(np.arange(len(self._vectors)))]
        encoding = train_encoding(kind, differences)
        if encoding is None:
            return f"does not fit {len(self._vectors)} vectors of {self._spec.dim} numbers"
        kept = EncodedVectors(
            encoding.encode(differences), encoding, self._lists, self._spec.metric == "cosine"
        )
        del differences
        decoded = np.asarray(kept)
        best, error = self._recall(decoded, None)
        if best - 2 * error < LEAST_RECALL:
            return f"recall@{K} {best:.4f} (standard error {error:.4f})"
        lists, recall = self._fewest_lists(decoded, best)
        vectors = replace(kept, lists=lists)
        return Form(kind, vectors, np.empty(0, np.int64), lists, recall, round(size, 1), ())

    def whole(self) -> Form:
        """The vectors as they are, searched by lists."""
        lists, recall = self._fewest_lists(self._vectors, 1.0)
        size = 4.0 * self._spec.dim + lists.nbytes / len(self._vectors)
        return Form(FP32, self._vectors, np.empty(0, np.int64), lists, recall, round(size, 1), ())

    def _fewest_lists(self, vectors: NDArray[np.float32], best: float) -> tuple[Lists, float]:
        """The fewest lists to look into that find what can be found, and the recall they reach."""
        count = len(self._lists.centers)
        for nprobe in (*(probes for probes in _PROBES if probes < count), count):
            lists = replace(self._lists, nprobe=nprobe)
            recall, error = self._recall(vectors, lists)
            if recall >= best * OF_EXACT and recall - 2 * error >= LEAST_RECALL:
                break
        return lists, recall

    def _exact_limits(self) -> NDArray[np.float32]:
        """How far the K-th nearest is from each vector asked about, itself left out, float32 (asked,)."""
        wanted = min(K + 1, len(self._vectors))
        metric = faiss.METRIC_INNER_PRODUCT if self._spec.metric == "cosine" else faiss.METRIC_L2
        _, near = faiss.knn(self._vectors[self._asked], self._vectors, wanted, metric=metric)
        limits = [
            np.sort(self._distances(mine, theirs[theirs != mine]))[:K].max(initial=0.0)
            for mine, theirs in zip(self._asked.tolist(), near, strict=True)
        ]
        return np.array(limits, np.float32)

    def _recall(self, vectors: NDArray[np.float32], lists: Lists | None) -> tuple[float, float]:
        """The share of K neighbours that are, by the 32-bit floats, as near as those of exact search; its error."""
        index = VectorIndex(self._spec, len(vectors), vectors, accelerator=lists)
        shares = []
        for mine, limit in zip(self._asked.tolist(), self._limits.tolist(), strict=True):
            found, _ = index.distinct(vectors[mine], K + 1)
            distances = self._distances(mine, found[found != mine][:K])
            near = np.count_nonzero(distances <= limit * (1 + _CLOSE) + _CLOSE)
            shares.append(near / max(min(K, len(vectors) - 1), 1))
        return _down(float(np.mean(shares))), float(np.std(shares) / np.sqrt(len(shares)))

    def _distances(self, mine: int, theirs: NDArray[Any]) -> NDArray[np.float32]:
        query, vectors = self._vectors[mine], self._vectors[theirs]
        if self._spec.metric == "cosine":
            return np.asarray(np.maximum(1.0 - vectors @ query, 0.0), np.float32)
        return np.asarray(np.linalg.norm(vectors - query, axis=1), np.float32)


def _down(value: float) -> float:
    """Four digits, rounded down, so that what is told was reached."""
    return math.floor(value * 10_000) / 10_000
