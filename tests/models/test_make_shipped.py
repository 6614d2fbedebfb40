"""What is shipped comes out of its scripts again, and is written anew only where it changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

from models import make_shipped
from models.making import PROJECT
from models.sample import read_events, sample_files
from services.common.embedding.building import SHIPPED_FOLDER
from services.common.embedding.manifest import MANIFEST_FILE, MODEL_FILE
from services.common.events.features import extract

if TYPE_CHECKING:
    from pathlib import Path

    from models.making import Made

NAME = "attack-pca"


@pytest.fixture(scope="module")
def made() -> Made:
    return make_shipped.make(NAME)


@pytest.fixture
def scripts(made: Made, monkeypatch: pytest.MonkeyPatch) -> list[Made]:
    """What the script gives; a test may put another thing there."""
    gives = [made]
    monkeypatch.setattr(make_shipped, "make", lambda _name: gives[0])
    return gives


def test_what_is_shipped_comes_out_again(made: Made) -> None:
    """By its vectors' distances: on another machine the last digits of the weights differ."""
    payloads = [event.SerializeToString() for event in read_events(sample_files())[::40]]
    values = extract(payloads).values

    def distances(model: bytes) -> np.ndarray:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        vectors = session.run(None, {"values": values})[0]
        return np.linalg.norm(vectors[:, None] - vectors, axis=2)

    there = (PROJECT / SHIPPED_FOLDER / NAME / MODEL_FILE).read_bytes()
    np.testing.assert_allclose(distances(made.files[MODEL_FILE]), distances(there), atol=1e-3)


def test_a_model_that_is_the_same_is_not_written(scripts: list[Made], tmp_path: Path) -> None:
    assert make_shipped.refresh(NAME, tmp_path)
    before = (tmp_path / NAME / MANIFEST_FILE).read_bytes()
    scripts[0] = replace(scripts[0], measured={"microseconds_per_row_one_thread": 99.0})
    assert not make_shipped.refresh(NAME, tmp_path)
    assert (tmp_path / NAME / MANIFEST_FILE).read_bytes() == before


def test_a_model_that_changed_is_written_and_told(scripts: list[Made], tmp_path: Path) -> None:
    make_shipped.refresh(NAME, tmp_path)
    assert make_shipped.difference(NAME, tmp_path) == ""
    scripts[0] = replace(scripts[0], files={MODEL_FILE: b"another"})
    assert make_shipped.difference(NAME, tmp_path).startswith("attack-pca: made is attack-pca@")
    assert make_shipped.refresh(NAME, tmp_path)
    assert (tmp_path / NAME / MODEL_FILE).read_bytes() == b"another"


@pytest.mark.usefixtures("scripts")
def test_checking_writes_nothing(tmp_path: Path) -> None:
    assert "shipped is nothing" in make_shipped.difference(NAME, tmp_path)
    assert not list(tmp_path.iterdir())
