"""Questions in Spanish are asked in the words of the narratives, and find what the same in English finds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from benchmarks.narratives import DATA_SETS, embed_all, read_questions, tell
from services.common.embedding.onnx import OnnxSettings, OnnxTexts
from services.common.embedding.store import ModelStore
from services.common.events.spanish import load_glossary
from services.feed.readers.port import LabelMode
from services.rag.client import Client, FixedReplicas
from services.rag.scope import Bounds
from services.rag.text_search import TextSearch

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.narratives import Told

SPANISH, ENGLISH = "escaneo de puertos desde fuera", "port scan inbound from outside"


@pytest.fixture(scope="module")
def models() -> Path:
    """The built models."""
    path = Path(
        os.environ.get("APPIA_TEST_MODELS", Path(__file__).parents[2] / ".appia" / "models")
    ).absolute()
    if not (path / "semantic" / "ACTIVE").is_file():
        pytest.skip(f"there is no semantic model in {path}; `make models` builds it")
    return path


@pytest.fixture(scope="module")
def told(models: Path) -> Told:
    """The sample's narratives, told with labels, by the built model."""
    narratives = sorted(set(tell(DATA_SETS[0], LabelMode.CLASSIFICATION)))
    return embed_all(OnnxTexts(ModelStore(models).load("semantic"), OnnxSettings()), narratives)


def test_what_was_understood_is_searched_and_told(
    world: Any, follow: Any, small_queries: Callable[..., Any]
) -> None:
    """A Spanish question has the hits of its English words and says them; an English one says nothing."""
    world.fill("2026-01-20", 30, sealed=True)
    searcher = TextSearch(small_queries(world), load_glossary())
    with follow(world).lease() as snapshot:
        asked = [searcher.search(snapshot, text, Bounds(5)) for text in (SPANISH, ENGLISH)]
    assert [answer["understood"] for answer in asked] == [ENGLISH, None]
    assert asked[0]["hits"] == asked[1]["hits"]


def test_without_a_glossary_words_are_asked_as_they_are(
    world: Any, follow: Any, small_queries: Callable[..., Any]
) -> None:
    """With no glossary nothing is understood otherwise, and the vector is that of the Spanish words."""
    world.fill("2026-01-20", 30, sealed=True)
    plain, spanish = (TextSearch(small_queries(world), glossary) for glossary in (None, load_glossary()))
    with follow(world).lease() as snapshot:
        asked = [searcher.search(snapshot, SPANISH, Bounds(5)) for searcher in (plain, spanish)]
    assert asked[0]["understood"] is None
    assert [hit["distance"] for hit in asked[0]["hits"]] != [hit["distance"] for hit in asked[1]["hits"]]


@pytest.mark.parametrize(("glossary", "understood"), [("spanish", ENGLISH), ("none", None)])
def test_a_replica_follows_its_setting(
    world: Any, start_replica: Any, models: Path, glossary: str, understood: str | None
) -> None:
    """A real replica answers a Spanish question by the setting `question_glossary`."""
    first = world.embedders
    semantic = OnnxTexts(ModelStore(models).load("semantic"), OnnxSettings())
    world.embedders = type(first)(first.attack, semantic, first.temporal, first.entity)
    world.fill("2026-01-20", 20, sealed=True)
    replica = start_replica(world.state.root, models=str(models), question_glossary=glossary)
    with zmq.Context() as context, Client(FixedReplicas([replica.ready()["endpoint"]]), context) as client:
        assert client.search(SPANISH, k=3)["understood"] == understood


@pytest.mark.parametrize("part", ["seen", "unseen"])
def test_spanish_finds_what_english_finds(told: Told, part: str) -> None:
    """On the sample's narratives: Spanish as it is finds little; through the glossary as much as English does."""
    questions, glossary = read_questions()[part], load_glossary()
    assert len(questions) >= 20
    assert all(question.answered_by(told.narratives).any() for question in questions)
    english = told.found(questions, [question.en for question in questions])
    plain = told.found(questions, [question.es for question in questions])
    spanish = told.found(questions, [glossary.english(question.es) for question in questions])
    assert plain < 0.35 < english
    assert spanish > english - 0.05
    assert spanish > plain + 0.3
