"""The ONNX adapters run checked models and refuse those made for another input."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest

from models.pca_graph import LogProjection
from services.common.embedding.manifest import MODEL_FILE, InputSchema, windows_schema_hash
from services.common.embedding.onnx import OnnxArrays, OnnxSettings, OnnxTexts
from services.common.embedding.store import LoadedModel
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.embedding.manifest import Manifest
    from services.common.embedding.port import RowEmbedder, TextEmbedder, WindowEmbedder
    from services.common.embedding.store import ModelStore

    Install = Callable[..., Manifest]

FEATURES_HASH = "f" * 64
SETTINGS = OnnxSettings()


def open_rows(store: ModelStore, settings: OnnxSettings = SETTINGS) -> RowEmbedder:
    return OnnxArrays(store.load("attack"), "features", FEATURES_HASH, settings)


def open_texts(store: ModelStore) -> TextEmbedder:
    return OnnxTexts(store.load("semantic"), SETTINGS)


def test_rows_become_vectors_of_the_model(store: ModelStore, install: Install) -> None:
    manifest = install()
    embedder = open_rows(store)
    vectors = embedder.embed(np.ones((4, 5), np.float32))
    assert (vectors.shape, vectors.dtype) == ((4, 3), np.float32)
    assert (embedder.model_id, embedder.name, embedder.dim, embedder.metric) == (
        manifest.model_id,
        "attack",
        3,
        "l2",
    )


def test_batches_do_not_change_the_result(store: ModelStore, install: Install) -> None:
    install()
    rows = np.random.default_rng(3).lognormal(3, 2, (23, 5)).astype(np.float32)
    small = open_rows(store, OnnxSettings(rows_at_once=4)).embed(rows)
    np.testing.assert_allclose(small, open_rows(store).embed(rows), rtol=1e-6)


def test_no_rows_give_no_vectors(store: ModelStore, install: Install) -> None:
    install()
    assert open_rows(store).embed(np.empty((0, 5), np.float32)).shape == (0, 3)


def test_rows_that_are_no_contiguous_float32_work(store: ModelStore, install: Install) -> None:
    install()
    wide = np.arange(40.0).reshape(4, 10)
    embedder = open_rows(store)
    expected = embedder.embed(np.ascontiguousarray(wide[:, ::2], np.float32))
    np.testing.assert_array_equal(embedder.embed(wide[:, ::2]), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(4, 6), (5,), (4, 5, 1)])
def test_rows_of_another_shape_are_refused(
    store: ModelStore, install: Install, shape: tuple[int, ...]
) -> None:
    install()
    with pytest.raises(ValueError, match="takes arrays of shape"):
        open_rows(store).embed(np.zeros(shape, np.float32))


def test_another_schema_hash_is_refused_with_the_command(store: ModelStore, install: Install) -> None:
    install(input=InputSchema(kind="features", hash="0" * 64, shape=(5,)))
    with pytest.raises(AppiaError, match=r"made for the features schema 000000000000, .*appia models build"):
        open_rows(store)


def test_a_model_of_another_kind_is_refused(store: ModelStore, install: Install) -> None:
    install(input=InputSchema(kind="windows", hash=FEATURES_HASH, shape=(5,)))
    with pytest.raises(AppiaError, match="takes windows, not features"):
        open_rows(store)


def test_a_manifest_with_the_wrong_dimension_is_refused(store: ModelStore, install: Install) -> None:
    install(dim=4)
    with pytest.raises(AppiaError, match="its manifest says 4 components"):
        open_rows(store)


def test_windows_are_embedded_whole(store: ModelStore, install: Install) -> None:
    fitted = LogProjection((4, 2), np.zeros(2), np.ones(2), np.eye(8)[:, :3])
    schema = InputSchema(
        kind="windows", hash=windows_schema_hash(("events", "bytes"), 4, 56_250_000_000), shape=(4, 2)
    )
    install({MODEL_FILE: fitted.to_onnx()}, name="temporal", input=schema)
    embedder: WindowEmbedder = OnnxArrays(store.load("temporal"), "windows", schema.hash, SETTINGS)
    windows = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    np.testing.assert_allclose(embedder.embed(windows), np.log1p(windows).reshape(3, 8)[:, :3], rtol=1e-6)


def test_texts_become_unit_vectors(store: ModelStore, install_texts: Install) -> None:
    install_texts()
    vectors = open_texts(store).embed(["short web connection", "long mail scan", ""])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_a_text_has_the_same_vector_whatever_its_neighbours(
    store: ModelStore, install_texts: Install
) -> None:
    install_texts()
    embedder = open_texts(store)
    alone = embedder.embed(["short web connection"])[0]
    among = embedder.embed(["long long long mail scan out", "short web connection", "in"])[1]
    np.testing.assert_array_equal(alone, among)


def test_texts_longer_than_the_model_takes_are_cut(store: ModelStore, install_texts: Install) -> None:
    install_texts()
    long, cut = open_texts(store).embed(["web mail scan in out short long web", "web mail scan in out short"])
    np.testing.assert_array_equal(long, cut)


def test_no_texts_give_no_vectors(store: ModelStore, install_texts: Install) -> None:
    install_texts()
    assert open_texts(store).embed([]).shape == (0, 12)


def test_a_tokenizer_the_model_was_not_made_for_is_refused(store: ModelStore, install_texts: Install) -> None:
    install_texts(input_hash="0" * 64)
    with pytest.raises(AppiaError, match="made for the texts schema"):
        open_texts(store)


def test_a_rows_model_is_no_text_model(store: ModelStore, install: Install) -> None:
    install()
    with pytest.raises(AppiaError, match="takes features, not texts"):
        OnnxTexts(store.load("attack"), SETTINGS)


def test_a_model_that_the_runtime_cannot_open_is_named_in_a_sentence(
    store: ModelStore, install: Install, model_bytes: bytes
) -> None:
    """Its manifest fits and nothing in it is unsafe, but an operator has no such input."""
    model = onnx.load_from_string(model_bytes)
    model.graph.node[0].input[0] = "nowhere"
    manifest = install({MODEL_FILE: model.SerializeToString()})
    with pytest.raises(AppiaError, match=f"The model {manifest.model_id} cannot be opened .*nowhere"):
        open_rows(store)


def test_a_tokenizer_that_is_none_is_named_in_a_sentence(store: ModelStore, install_texts: Install) -> None:
    manifest = install_texts(tokenizer=b"{}")
    with pytest.raises(AppiaError, match=f"The model {manifest.model_id} cannot be opened"):
        open_texts(store)


def test_the_format_of_the_runtime_itself_is_not_opened(
    store: ModelStore, install: Install, tmp_path: Path
) -> None:
    """It cannot be looked into, so it is refused also where the look was not asked."""
    install()
    loaded = store.load("attack")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(loaded.files[MODEL_FILE], options, providers=["CPUExecutionProvider"])
    own = LoadedModel(loaded.manifest, {MODEL_FILE: (tmp_path / "model.ort").read_bytes()})
    assert onnxruntime.InferenceSession(own.files[MODEL_FILE], providers=["CPUExecutionProvider"])
    with pytest.raises(AppiaError, match="cannot be opened"):
        OnnxArrays(own, "features", FEATURES_HASH, SETTINGS)


@pytest.mark.parametrize("module", ["services.common.embedding.onnx", "services.training.measuring"])
def test_the_runtime_tells_its_makers_nothing(module: str, tmp_path: Path) -> None:
    """Its telemetry begins while it is imported, with an id of the machine in the home directory: not here."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        environment[name] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.rglob("*")) == []
