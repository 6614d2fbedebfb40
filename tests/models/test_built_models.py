"""The shipped models, as the build makes them, load through the adapters and do their work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.making import PROJECT
from models.sample import read_events, sample_files
from services.common.embedding.building import MODEL_NAMES, Builder
from services.common.embedding.manifest import windows_schema_hash
from services.common.embedding.model_inputs import inputs_digest, script_of
from services.common.embedding.onnx import OnnxArrays, OnnxSettings, OnnxTexts
from services.common.events.features import FEATURES, SCHEMA_HASH, column_of, extract
from services.common.events.profiles import PROFILE, profiles_schema_hash
from services.common.events.windows import CHANNELS, STEP_NS, STEPS

if TYPE_CHECKING:
    from services.common.embedding.port import TextEmbedder
    from services.common.embedding.store import ModelStore

SETTINGS = OnnxSettings()


@pytest.fixture(scope="module")
def texts(built: ModelStore) -> TextEmbedder:
    return OnnxTexts(built.load("semantic"), SETTINGS)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_manifest_tells_where_the_model_is_from(built: ModelStore, name: str) -> None:
    manifest = built.load(name).manifest
    assert manifest.licence.startswith("Apache-2.0")
    assert manifest.made_by.script == script_of(name)
    assert (PROJECT / manifest.made_by.script).is_file()
    assert {"numpy", "onnx", "onnxruntime"} <= set(manifest.made_by.libraries)
    assert manifest.measured
    assert manifest.inputs_digest == inputs_digest(PROJECT, name)


def test_the_attack_model_embeds_the_registry(built: ModelStore) -> None:
    attack = OnnxArrays(built.load("attack"), "features", SCHEMA_HASH, SETTINGS)
    vectors = attack.embed(np.zeros((2, len(FEATURES)), np.float32))
    assert (vectors.shape, attack.metric) == ((2, 64), "l2")


def test_near_flows_of_the_sample_share_their_protocol(built: ModelStore) -> None:
    """The nearest other flow of the recorded traffic is of the same transport protocol."""
    events = read_events(sample_files())[::10]
    values = extract([event.SerializeToString() for event in events]).values
    vectors = OnnxArrays(built.load("attack"), "features", SCHEMA_HASH, SETTINGS).embed(values)
    distances = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    protocol = values[:, column_of("network_features.protocol_number")]
    agree = (protocol[distances.argmin(axis=1)] == protocol).mean()
    assert agree > 0.95


def test_the_entity_model_embeds_profiles(built: ModelStore) -> None:
    """64 numbers a host; hosts that did nothing are all alike."""
    entity = OnnxArrays(built.load("entity"), "profiles", profiles_schema_hash(), SETTINGS)
    vectors = entity.embed(np.zeros((2, len(PROFILE)), np.float32))
    assert (vectors.shape, entity.metric) == ((2, 64), "l2")
    assert np.array_equal(vectors[0], vectors[1])


def test_the_temporal_model_embeds_windows(built: ModelStore) -> None:
    schema_hash = windows_schema_hash(CHANNELS, STEPS, STEP_NS)
    temporal = OnnxArrays(built.load("temporal"), "windows", schema_hash, SETTINGS)
    vectors = temporal.embed(np.ones((2, STEPS, len(CHANNELS)), np.float32))
    assert (vectors.shape, temporal.metric) == ((2, 128), "l2")


def test_the_semantic_model_gives_unit_vectors(texts: TextEmbedder) -> None:
    vectors = texts.embed(["a web connection", "", "x " * 1000])
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("question", "near", "far"),
    [
        ("password guessing over ssh", "repeated login attempts on a remote shell", "a video is watched"),
        ("denial of service", "web server flooded with requests", "time synchronisation with a server"),
        ("port scan", "one host probes many ports of another", "mail delivered and accepted"),
    ],
)
def test_sentences_of_one_meaning_are_near(texts: TextEmbedder, question: str, near: str, far: str) -> None:
    asked, same, other = texts.embed([question, near, far])
    assert asked @ same > asked @ other


def test_the_semantic_model_is_small(built: ModelStore) -> None:
    assert len(built.load("semantic").files["model.onnx"]) < 24_000_000


def test_building_again_makes_nothing_new(built: ModelStore) -> None:
    lines: list[str] = []
    ids = Builder(PROJECT, built.root, lines.append).build()
    assert [line.split(": ")[1].split(" (")[0] for line in lines] == ["already built"] * len(MODEL_NAMES)
    assert ids == [built.load(name).manifest.model_id for name in MODEL_NAMES]
