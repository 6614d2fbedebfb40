"""The semantic model in 8 bits says nearly what it says in 32, on the sentences and questions it is used for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.narratives import CACHE, DATA_SETS, embed_all, exact_texts, read_questions, tell
from models.build_semantic import FILES, PACKAGE
from services.common.embedding.onnx import OnnxSettings, OnnxTexts
from services.feed.readers.port import LabelMode
from services.training.sentence_model import agreement, nearest

if TYPE_CHECKING:
    from benchmarks.narratives import Told
    from services.common.embedding.store import ModelStore

Both = tuple[OnnxTexts, OnnxTexts]


@pytest.fixture(scope="module")
def both(built: ModelStore) -> Both:
    """The model in 8 and in 32 bits."""
    folder = CACHE / PACKAGE.replace("==", "-")
    if not all((folder / name).is_file() for name in FILES):
        pytest.skip(f"the weights are not in {folder}: the model was built elsewhere")
    stored = built.load("semantic")
    return OnnxTexts(stored, OnnxSettings()), exact_texts(stored)


@pytest.fixture(scope="module")
def told(both: Both) -> list[Told]:
    """All that the sample's events are told in, with their labels, by each of the two."""
    narratives = sorted(set(tell(DATA_SETS[0], LabelMode.CLASSIFICATION)))
    return [embed_all(texts, narratives) for texts in both]


def test_narratives_keep_their_direction_and_their_neighbours(told: list[Told]) -> None:
    """Cosine to 32 bits of every narrative, and the share of the ten nearest narratives that stay."""
    small, exact = (one.vectors for one in told)
    cosines = (small * exact).sum(axis=1)
    assert cosines.mean() > 0.99
    assert cosines.min() > 0.98
    assert agreement(nearest(small, small, 10), nearest(exact, exact, 10)) > 0.85


def test_questions_find_as_much(told: list[Told]) -> None:
    """Of the ten nearest narratives of a question most stay, and as many of the first five are right."""
    questions = [question for part in read_questions().values() for question in part]
    words = [question.en for question in questions]
    assert agreement(*(one.nearest(words, 10) for one in told)) > 0.8
    small, exact = (one.found(questions, words) for one in told)
    assert abs(small - exact) < 0.05
