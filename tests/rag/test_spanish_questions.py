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

if TYPE_CHECKING:
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


@pytest.mark.parametrize(("glossary", "searched"), [("spanish", ENGLISH), ("none", SPANISH)])
def test_a_replica_follows_its_setting(
    world: Any, start_replica: Any, models: Path, glossary: str, searched: str
) -> None:
    """A real replica answers a Spanish question by the setting `question_glossary`."""
    first = world.embedders
    semantic = OnnxTexts(ModelStore(models).load("semantic"), OnnxSettings())
    world.embedders = type(first)(first.attack, semantic, first.temporal, first.entity)
    world.fill("2026-01-20", 20, sealed=True)
    replica = start_replica(world.state.root, models=str(models), question_glossary=glossary)
    with zmq.Context() as context, Client(FixedReplicas([replica.ready()["endpoint"]]), context) as client:
        asked = {"text": SPANISH, "k": 3, "parse": False}
        assert client.ask("search", asked)["understood"]["searched"] == searched


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
