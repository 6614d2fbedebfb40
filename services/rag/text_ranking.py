"""Ranks sentences for a question in words: by meaning, by words, or by both (docs/search.md).

Both give ranks, which are fused: reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009). The more of the
question a sentence says, against the sentence that says most of it, the more its words count (decision 0014).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, cast

import numpy as np

from services.common.days.fusion import CONSTANT, common_ranks, ranks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.rag.words import WordHits


_EQUAL = 1e-12
"""Scores closer than this are equal: sums that differ by rounding only."""


class By(StrEnum):
    """What sentences are ranked by."""

    FUSED = "fused"
    MEANING = "meaning"
    WORDS = "words"


@dataclass(frozen=True)
class TextWeights:
    """How much meaning and words count in a fused answer."""

    meaning: float = 1.0
    words: float = 1.0


@dataclass(frozen=True)
class Likeness:
    """How n sentences are like a question.

    Attributes:
        meanings: 1 - cosine by each model, float32 (n,); infinite for a sentence without a vector of that model.
        words: what the question's words find.
    """

    meanings: Mapping[str, NDArray[np.float32]]
    words: WordHits


@dataclass(frozen=True)
class Ranking:
    """Sentences, best first: numbers int64 (m,), what they score float64 (m,), and the scores it is made of."""

    numbers: NDArray[np.int64]
    scores: NDArray[np.float64]
    parts: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """By `By`: the cosine, and BM25; NaN where there is none; float64 (m,). Empty where nothing was compared."""
    models: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Number of the model, in the order of `Likeness.meanings`, that the cosine is by; int64 (m,)."""

    def steps(self) -> list[float]:
        """The scores such that equal ones compare as equal."""
        return cast("list[float]", np.rint(self.scores / _EQUAL).tolist())


def rank(likeness: Likeness, among: NDArray[np.bool_], by: By, weights: TextWeights) -> Ranking:
    """The sentences among those of the mask (n,) that are like the question, best first; equal ones by number.

    Ranks are among these, as if there were no others.
    """
    there = np.flatnonzero(among)
    nearness, cosines, models = _meaning(
        [distances[there] for distances in likeness.meanings.values()], len(there)
    )
    bm25 = likeness.words.scores[there]
    if by is By.MEANING:
        found, scores, order = np.isfinite(nearness), cosines, nearness
    else:
        word_ranks = np.where(bm25 > 0, ranks((-bm25).astype(np.float32)), np.inf)
        said = _said(likeness.words.shares[there])
        fused = weights.meaning / (CONSTANT + nearness) + weights.words * said / (CONSTANT + word_ranks)
        scores = bm25 if by is By.WORDS else fused
        found, order = scores > 0, -np.rint(scores / _EQUAL)
    best = np.argsort(np.where(found, order, np.inf), kind="stable")[: found.sum()]
    parts = {By.MEANING.value: cosines[best], By.WORDS.value: np.where(bm25 > 0, bm25, np.nan)[best]}
    return Ranking(there[best], scores[best], parts, models[best])


def all_alike(among: NDArray[np.bool_]) -> Ranking:
    """The sentences of the mask (n,), all at one place: only time decides between their events."""
    numbers = np.flatnonzero(among)
    return Ranking(numbers, np.ones(len(numbers)))


def _said(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much the words of each sentence count, 0 to 1: one word of five that another sentence says is little."""
    most = shares.max(initial=0.0)
    return (shares / most) ** 2 if most else shares


def _meaning(
    distances: Sequence[NDArray[np.float32]], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """The rank of each of `count` sentences, its cosine, and the model that ranks it best; infinite, NaN, 0 without.

    Distances of several models cannot be compared; their ranks are stretched to all sentences (decision 0009).
    """
    if not distances or not count:
        return np.full(count, np.inf), np.full(count, np.nan), np.zeros(count, np.int64)
    each = np.stack(distances)
    known = np.isfinite(each)
    models = np.broadcast_to(np.arange(len(each))[:, None], each.shape)
    nearness = np.full(each.shape, np.inf)
    nearness[known] = common_ranks(each[known], models[known], known.sum(axis=1))
    best = nearness.argmin(axis=0)
    places = np.arange(count)
    cosines = 1.0 - each[best, places].astype(np.float64)
    return nearness[best, places], np.where(np.isfinite(cosines), cosines, np.nan), best
