"""Words of a question are embedded by the model in the store, in the process that answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from services.common.embedding.onnx import OnnxSettings, OnnxTexts
from services.common.embedding.store import ModelStore
from services.common.errors import AppiaError
from services.rag.client import Client, FixedReplicas
from services.rag.texts import StoredTexts


@pytest.fixture
def models() -> Path:
    """The built models."""
    path = Path(
        os.environ.get("APPIA_TEST_MODELS", Path(__file__).parents[2] / ".appia" / "models")
    ).absolute()
    if not (path / "semantic" / "ACTIVE").is_file():
        pytest.skip(f"there is no semantic model in {path}; `make models` builds it")
    return path


def test_the_active_model_embeds(models: Path) -> None:
    """The vector has length 1, is the same for the same text, and names its model."""
    texts = StoredTexts(models)
    first, second = texts.embed("a port scan from outside"), texts.embed("a port scan from outside")
    assert first.model_id == ModelStore(models).load("semantic").manifest.model_id
    assert np.linalg.norm(first.values) == pytest.approx(1.0, abs=1e-5)
    assert first.values.tolist() == second.values.tolist()


def test_a_replica_answers_words(world: Any, start_replica: Any, models: Path) -> None:
    """Through a real replica the sentence of an event finds that event, by the same model as the narratives."""
    first = world.embedders
    semantic = OnnxTexts(ModelStore(models).load("semantic"), OnnxSettings())
    world.embedders = type(first)(first.attack, semantic, first.temporal)
    events = world.fill("2026-01-20", 40, sealed=True)
    endpoint = start_replica(world.state.root, models=str(models)).ready()["endpoint"]
    with zmq.Context() as context, Client(FixedReplicas([endpoint]), context) as client:
        narrative = client.get(events[0].event_id)["fields"]["narrative"]
        answer = client.search(narrative, k=5)
    assert answer["hits"][0]["narrative"] == narrative
    assert answer["hits"][0]["score"] == pytest.approx(1.0, abs=1e-3)
    assert answer["receipt"]["models"] == {"semantic": semantic.model_id}


def test_a_store_that_cannot_be_used_is_a_sentence(tmp_path: Path) -> None:
    """No store, or a pointer that names nothing, is refused with what to do."""
    with pytest.raises(AppiaError, match="No semantic model"):
        StoredTexts(tmp_path).embed("x")
    (tmp_path / "semantic").mkdir()
    (tmp_path / "semantic" / "ACTIVE").write_text("0" * 64)
    with pytest.raises(AppiaError, match="manifest"):
        StoredTexts(tmp_path).embed("x")
