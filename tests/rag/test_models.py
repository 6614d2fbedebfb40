"""What a question needs embedded is embedded by the model in the store that a day names, where it is answered."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from services.common.embedding.onnx import OnnxSettings, OnnxTexts
from services.common.embedding.store import ModelStore
from services.common.errors import AppiaError
from services.common.events.feature_list import FEATURES
from services.common.events.profiles import PROFILE
from services.rag import models as models_module
from services.rag.client import Client, FixedReplicas
from services.rag.models import MOST_LOADED, StoredModels


@pytest.fixture
def models() -> Path:
    """The built models."""
    path = Path(
        os.environ.get("APPIA_TEST_MODELS", Path(__file__).parents[2] / ".appia" / "models")
    ).absolute()
    if not (path / "semantic" / "ACTIVE").is_file():
        pytest.skip(f"there is no semantic model in {path}; `make models` builds it")
    return path


def test_models_are_found_by_id(models: Path) -> None:
    """Each kind of model embeds under the id that the days name, and is loaded once."""
    store, stored = ModelStore(models), StoredModels(models)
    ids = {name: store.load(name).manifest.model_id for name in ("attack", "semantic", "temporal")}
    texts = stored.texts(ids["semantic"])
    first, second = (texts.embed(["a port scan from outside"])[0] for _ in range(2))
    assert texts.model_id == ids["semantic"]
    assert np.linalg.norm(first) == pytest.approx(1.0, abs=1e-5)
    assert first.tolist() == second.tolist()
    assert stored.texts(ids["semantic"]) is texts
    assert stored.rows(ids["attack"]).embed(np.zeros((1, len(FEATURES)), np.float32)).shape == (1, 64)
    assert stored.windows(ids["temporal"]).embed(np.zeros((1, 64, 6), np.float32)).shape == (1, 128)


def test_the_active_model_of_hosts_embeds_open_days(models: Path) -> None:
    """It is the one in use, under its id."""
    stored = StoredModels(models)
    active = stored.active_profiles()
    assert active is stored.profiles(ModelStore(models).load("entity").manifest.model_id)
    assert active.embed(np.zeros((1, len(PROFILE)), np.float32)).shape == (1, 64)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, models: Path) -> None:
    """Of more models than are kept, the one that was not needed for the longest time is loaded again."""
    stored = StoredModels(models)
    monkeypatch.setattr(stored, "_store", _AnyModel())
    monkeypatch.setattr(models_module, "_load_texts", lambda _loaded: object())
    first = stored.texts("m@000000000000")
    for number in range(1, MOST_LOADED):
        stored.texts(f"m@{number:012x}")
    assert stored.texts("m@000000000000") is first
    second = stored.texts("m@000000000001")
    stored.texts("m@0000000000ff")
    assert stored.texts("m@000000000001") is second
    assert stored.texts("m@000000000000") is first
    for number in range(100, 100 + MOST_LOADED):
        stored.texts(f"m@{number:012x}")
    assert stored.texts("m@000000000000") is not first


class _AnyModel:
    """A store that has every model."""

    def find(self, model_id: str) -> tuple[str, str]:
        return model_id, ""

    def load(self, *_: str) -> None:
        return None


def test_a_replica_answers_words(world: Any, start_replica: Any, models: Path) -> None:
    """Through a real replica the sentence of an event finds that event, by the same model as the narratives."""
    semantic = OnnxTexts(ModelStore(models).load("semantic"), OnnxSettings())
    world.embedders = replace(world.embedders, semantic=semantic)
    events = world.fill("2026-01-20", 40, sealed=True)
    endpoint = start_replica(world.state.root, models=str(models)).ready()["endpoint"]
    with zmq.Context() as context, Client(FixedReplicas([endpoint]), context) as client:
        narrative = client.get(events[0].event_id)["fields"]["narrative"]
        answer = client.search(narrative, k=5, by="meaning", parse=False)
    assert answer["groups"][0]["narrative"] == narrative
    assert answer["groups"][0]["score"] == pytest.approx(1.0, abs=1e-3)
    assert answer["receipt"]["models"] == {"semantic": [semantic.model_id]}


def test_a_store_that_cannot_be_used_is_a_sentence(tmp_path: Path, models: Path) -> None:
    """A model that is not there, whose id is none, or whose folder holds nothing is refused with what to do."""
    stored = StoredModels(tmp_path)
    for model_id in ("semantic@0123456789ab", "../semantic@0123456789ab", "semantic", "semantic@*"):
        with pytest.raises(AppiaError, match=re.escape(f"The model {model_id} is not in {tmp_path}")):
            stored.texts(model_id)
    (tmp_path / "semantic" / ("0" * 64)).mkdir(parents=True)
    with pytest.raises(AppiaError, match="manifest"):
        stored.texts("semantic@000000000000")
    attack = ModelStore(models).load("attack").manifest.model_id
    with pytest.raises(AppiaError, match="takes features, not texts"):
        StoredModels(models).texts(attack)
