"""Sentences are ranked by meaning, by words, or by the sum of both reciprocal ranks."""

from __future__ import annotations

import numpy as np
import pytest

from services.rag.text_ranking import By, Likeness, TextWeights, all_alike, rank
from services.rag.words import WordHits

INF = np.inf
ALL = np.ones(4, bool)


def likeness(
    *models: list[float], bm25: list[float] | None = None, shares: list[float] | None = None
) -> Likeness:
    """Distances by each model, and what words found."""
    count = len(models[0]) if models else 4
    return Likeness(
        {f"m{number}": np.array(model, np.float32) for number, model in enumerate(models)},
        WordHits(np.array(bm25 or [0.0] * count), np.array(shares or [0.0] * count)),
    )


def test_meaning_ranks_by_distance() -> None:
    """The nearest comes first; one without a vector is left out; the score is the cosine."""
    found = rank(likeness([0.3, 0.1, INF, 0.2]), ALL, By.MEANING, TextWeights())
    assert found.numbers.tolist() == [1, 3, 0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_words_rank_by_bm25() -> None:
    """The best score comes first; one that has no word is left out."""
    found = rank(likeness(bm25=[0.0, 2.0, 3.0, 0.0], shares=[0, 1, 1, 0]), ALL, By.WORDS, TextWeights())
    assert found.numbers.tolist() == [2, 1]
    assert found.scores.tolist() == [3.0, 2.0]


def test_fused_sums_reciprocal_ranks() -> None:
    """Each way gives weight / (60 + rank); words less where a sentence says less of the question than another."""
    given = likeness([0.1, 0.2, 0.3, 0.4], bm25=[0.0, 1.0, 5.0, 0.0], shares=[0.0, 0.25, 0.5, 0.0])
    found = rank(given, ALL, By.FUSED, TextWeights(meaning=2.0, words=3.0))
    wanted = {0: 2 / 61, 1: 2 / 62 + 3 * 0.25 / 62, 2: 2 / 63 + 3 / 61, 3: 2 / 64}
    assert found.numbers.tolist() == sorted(wanted, key=lambda number: -wanted[number])
    assert found.scores.tolist() == pytest.approx(sorted(wanted.values(), reverse=True))
    assert found.parts["words"].tolist() == pytest.approx([5.0, 1.0, np.nan, np.nan], nan_ok=True)


def test_a_sentence_without_a_vector_is_found_by_its_words() -> None:
    """Sampled events have no vector; fused answers have them all the same."""
    given = likeness([INF, 0.2, INF, 0.4], bm25=[4.0, 0.0, 0.0, 0.0], shares=[1.0, 0, 0, 0])
    found = rank(given, ALL, By.FUSED, TextWeights())
    assert found.numbers.tolist() == [0, 1, 3]
    assert np.isnan(found.parts["meaning"][0])


def test_only_those_asked_about_are_ranked() -> None:
    """What filters leave out takes no rank from the others."""
    among = np.array([False, True, False, True])
    found = rank(likeness([0.1, 0.2, 0.3, 0.4]), among, By.FUSED, TextWeights())
    assert found.numbers.tolist() == [1, 3]
    assert found.scores.tolist() == pytest.approx([1 / 61, 1 / 62])


def test_equal_ones_share_a_place() -> None:
    """Equal scores are equal steps, though their sums were rounded differently."""
    found = rank(likeness([0.2, 0.1, 0.2, 0.2]), ALL, By.FUSED, TextWeights())
    assert found.numbers.tolist() == [1, 0, 2, 3]
    assert len(set(found.steps())) == 2


def test_models_are_joined_by_rank() -> None:
    """A sentence has the better of its ranks by two models, stretched to all; which model it was is known."""
    given = likeness([0.5, 0.1, INF, INF], [INF, 0.9, 0.3, 0.4])
    found = rank(given, ALL, By.MEANING, TextWeights())
    # Model 0 knows two of four, so its ranks 1 and 2 are worth 2.5 and 5; those of model 1, of three, 5/3, 10/3 and 5.
    assert found.numbers.tolist() == [2, 1, 3, 0]
    assert found.models.tolist() == [1, 0, 1, 0]


def test_nothing_to_rank_is_nothing() -> None:
    """No sentence passes, or nothing was compared."""
    for by in By:
        assert rank(likeness([0.1] * 4), np.zeros(4, bool), by, TextWeights()).numbers.tolist() == []
        assert rank(likeness(), ALL, by, TextWeights()).numbers.tolist() == []
    assert all_alike(np.array([True, False, True])).numbers.tolist() == [0, 2]
