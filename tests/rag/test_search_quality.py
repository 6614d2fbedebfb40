"""On the sample's narratives, meaning and words fused answer the questions better than either alone."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench_search import ndcg
from benchmarks.narratives import DATA_SETS, embed_all, tell
from benchmarks.questions import read_question_set
from services.common.embedding.onnx import OnnxSettings, OnnxTexts
from services.common.embedding.store import ModelStore
from services.common.events.spanish import load_glossary
from services.feed.readers.port import LabelMode
from services.rag.language.understand import understand
from services.rag.question_text import words_of
from services.rag.text_ranking import By, Likeness, TextWeights, rank
from services.rag.words import WordIndex


@pytest.mark.parametrize("held_out", [False, True])
def test_fused_is_better_than_either_alone(held_out: bool) -> None:  # noqa: FBT001 - both halves
    """nDCG@10 over the questions about the sample, those that nothing was made by among them."""
    models = Path(os.environ.get("APPIA_TEST_MODELS", Path(__file__).parents[2] / ".appia" / "models"))
    if not (models / "semantic" / "ACTIVE").is_file():
        pytest.skip(f"there is no semantic model in {models}; `make models` builds it")
    told = embed_all(
        OnnxTexts(ModelStore(models).load("semantic"), OnnxSettings()),
        sorted(set(tell(DATA_SETS[0], LabelMode.CLASSIFICATION))),
    )
    index, glossary, asked = WordIndex(told.narratives), load_glossary(), read_question_set()
    scores: dict[By, list[float]] = {by: [] for by in By}
    for question in asked.half(held_out=held_out):
        right = {text for text in told.narratives if question.is_answered_by(text)}
        words = words_of(understand(question.text, question.now_ns, asked.facts), glossary)
        if not question.is_asked_of("office-day") or not right or not words:
            continue
        distances = 1 - told.vectors @ told.texts.embed([words])[0]
        likeness = Likeness({"model": distances}, index.search(words))
        for by, found in scores.items():
            ranking = rank(likeness, np.ones(len(told.narratives), bool), by, TextWeights())
            found.append(ndcg([told.narratives[number] for number in ranking.numbers[:10]], right))
    assert len(scores[By.FUSED]) >= 15
    means = {by: float(np.mean(found)) for by, found in scores.items()}
    assert means[By.FUSED] > max(means[By.MEANING], means[By.WORDS])
