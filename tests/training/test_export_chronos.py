"""A Chronos T5 folder becomes a model of windows that does what torch does, or is refused in words."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.embedding.manifest import windows_schema_hash
from services.common.embedding.onnx import OnnxArrays, OnnxSettings
from services.common.embedding.store import ModelStore
from services.common.errors import UsageError
from services.common.events.windows import CHANNELS, STEP_NS, STEPS

torch = pytest.importorskip("torch", reason="needs the extra train")
transformers = pytest.importorskip("transformers", reason="needs the extra train")

from transformers.models.t5.modeling_t5 import T5Attention  # noqa: E402 - needs the packages above

from services.training.export_chronos import (  # noqa: E402 - as above
    _read,
    check_windows,
    export_chronos,
    torch_vectors,
)
from services.training.exporting import ExportOptions, read_facts, store_export  # noqa: E402 - as above
from services.training.t5_graph import position_buckets  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
WORDS, SPECIAL = 100, 2


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """A folder with random weights; settings of T5 by name, those of Chronos in `chronos`."""

    def make(chronos: dict[str, Any] | None = None, **changes: Any) -> Path:
        torch.manual_seed(5)
        sizes = {"vocab_size": WORDS, "d_model": 20, "d_kv": 6, "d_ff": 36, "num_layers": 2, "num_heads": 3}
        config = transformers.T5Config(**sizes | {"feed_forward_proj": "relu"} | changes)
        config.chronos_config = {
            "tokenizer_class": "MeanScaleUniformBins",
            "tokenizer_kwargs": {"low_limit": -15.0, "high_limit": 15.0},
            "n_tokens": WORDS,
            "n_special_tokens": SPECIAL,
            "eos_token_id": 1,
            "use_eos_token": True,
        } | (chronos or {})
        model = transformers.T5ForConditionalGeneration(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.4)
        model.save_pretrained(tmp_path / "chronos")
        return tmp_path / "chronos"

    return make


def export(root: Path, store: ModelStore) -> OnnxArrays:
    options = ExportOptions(root, "chronos-tiny", lambda _: None)
    store_export(store, export_chronos(options), options, NOW)
    schema_hash = windows_schema_hash(CHANNELS, STEPS, STEP_NS)
    return OnnxArrays(store.load("chronos-tiny"), "windows", schema_hash, OnnxSettings())


def words_of(series: np.ndarray, *, low: float = -15, high: float = 15) -> list[int]:
    """The words of one series, number by number, from the paper's formulas (section 3.1)."""
    centres = np.linspace(low, high, WORDS - SPECIAL - 1)
    scale = np.abs(series).mean() or 1.0
    nearest = [int(np.abs(centres - value / scale).argmin()) for value in series]
    return [min(SPECIAL + 1 + place, WORDS - 1) for place in nearest]


def vector_of(model: Any, window: np.ndarray, end: list[int]) -> np.ndarray:
    """The vector of one window, channel after channel, through the encoder of the whole model."""
    with torch.no_grad():
        states = [
            model.encoder(input_ids=torch.tensor([words_of(window[:, channel]) + end])).last_hidden_state[0]
            for channel in range(len(CHANNELS))
        ]
    mean = torch.stack(states).mean(dim=(0, 1)).numpy()
    return np.asarray(mean / np.linalg.norm(mean))


@pytest.mark.parametrize(
    ("changes", "chronos", "end"),
    [({}, {}, [1]), ({"feed_forward_proj": "gated-gelu"}, {"use_eos_token": False}, [])],
)
def test_the_stored_model_does_what_torch_does(
    folder: Callable[..., Path],
    tmp_path: Path,
    changes: dict[str, Any],
    chronos: dict[str, Any],
    end: list[int],
) -> None:
    """Words, encoder and mean, window by window: within 1e-4 of torch, for any size of numbers and for silence."""
    root = folder(chronos, **changes)
    store = ModelStore(tmp_path / "store")
    model = export(root, store)
    windows = check_windows()
    whole = transformers.T5ForConditionalGeneration.from_pretrained(root).eval()
    # A number within rounding of a border may have either word; those windows are left out.
    clear = [row for row, window in enumerate(windows) if not near_a_border(window)]
    assert len(clear) > 15
    found = model.embed(windows)
    for row in clear:
        np.testing.assert_allclose(found[row], vector_of(whole, windows[row], end), atol=1e-4)
    manifest = store.load("chronos-tiny").manifest
    assert manifest.measured["graph_to_torch_largest_difference"] <= 1e-4
    assert (model.dim, model.metric) == (20, "cosine")


def near_a_border(window: np.ndarray) -> bool:
    scale = np.abs(window.astype(np.float64)).mean(axis=0)
    steps = (window / np.where(scale > 0, scale, 1) + 15) / 30 * (WORDS - SPECIAL - 2)
    return bool((np.abs(steps - np.floor(steps) - 0.5) < 1e-4).any())


def test_the_words_are_those_of_torch_at_every_border(folder: Callable[..., Path], tmp_path: Path) -> None:
    """Numbers on, just below and just above each border of a bin give the same vectors as torch's bucketize."""
    root = folder()
    model = export(root, ModelStore(tmp_path / "store"))
    _, words = _read(root, read_facts(root, "config.json", "a folder"))
    inner = words.boundaries()[1:-1]
    around = np.concatenate([inner, np.nextafter(inner, -99), np.nextafter(inner, 99)]).astype(np.float32)
    count = -(-len(around) // 32)
    # Half of each series makes its mean of absolute values exactly 1: 32 numbers and what is missing to 64.
    series = np.zeros((count, STEPS), np.float32)
    for row in range(count):
        part = around[row * 32 : row * 32 + 32]
        part = part[np.abs(part) < 1.9]
        series[row, : len(part)] = part
        missing = STEPS - np.abs(part.astype(np.float64)).sum()
        series[row, 32:] = missing / 32
    windows = np.repeat(series[:, :, None], len(CHANNELS), axis=2)
    encoder = transformers.T5EncoderModel.from_pretrained(root).eval()
    np.testing.assert_allclose(model.embed(windows), torch_vectors(encoder, words, windows), atol=1e-4)


def test_the_size_of_a_series_does_not_matter(folder: Callable[..., Path], tmp_path: Path) -> None:
    """A thousand times the bytes is the same vector (mean scaling); another course is another one."""
    model = export(folder(), ModelStore(tmp_path / "store"))
    windows = check_windows()[8:12]
    np.testing.assert_allclose(model.embed(windows * 1024), model.embed(windows), atol=1e-5)
    assert not np.allclose(model.embed(windows[:, ::-1]), model.embed(windows), atol=1e-3)


def test_few_windows_run_at_once(folder: Callable[..., Path], tmp_path: Path) -> None:
    """The manifest bounds a run, and more windows than that give the same vectors."""
    store = ModelStore(tmp_path / "store")
    model = export(folder(), store)
    at_once = store.load("chronos-tiny").manifest.rows_at_once
    windows = check_windows()
    assert at_once < len(windows)
    np.testing.assert_allclose(model.embed(windows)[-1:], model.embed(windows[-1:]), atol=1e-6)


@pytest.mark.parametrize(("length", "buckets", "most"), [(65, 32, 128), (300, 32, 128), (20, 8, 16)])
def test_positions_fall_into_the_buckets_of_torch(length: int, buckets: int, most: int) -> None:
    """Every distance has the bucket that the transformers library gives it."""
    ahead = torch.arange(length)[None, :] - torch.arange(length)[:, None]
    theirs = T5Attention._relative_position_bucket(ahead, num_buckets=buckets, max_distance=most)
    assert position_buckets(length, buckets, most).tolist() == theirs.tolist()


def edited(**fields: Any) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return edit


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda root: (root / "config.json").unlink(),
            "is not a Chronos T5 folder: config.json cannot be read",
        ),
        (edited(chronos_config=None), "is not a Chronos T5 folder: its config.json has no chronos_config"),
        (
            edited(chronos_config={"input_patch_size": 16}),
            "another kind of Chronos; export knows those on T5",
        ),
        (edited(num_layers="two"), "cannot be loaded"),
        (
            edited(chronos_config={"tokenizer_class": "MeanScaleUniformBins"}),
            "chronos_config, lacks 'tokenizer_kwargs'",
        ),
        (edited(model_type="gpt2"), "another kind of Chronos"),
        (edited(feed_forward_proj="gated-silu"), "a feed-forward layer that export does not know"),
        (lambda root: (root / "model.safetensors").unlink(), "has no model.safetensors"),
    ],
)
def test_a_wrong_folder_is_refused_in_words(
    folder: Callable[..., Path], tmp_path: Path, spoil: Callable[[Path], Any], sentence: str
) -> None:
    """What is missing or not understood is said with its name, and nothing is stored."""
    root, store = folder(), ModelStore(tmp_path / "store")
    spoil(root)
    with pytest.raises(UsageError, match=sentence):
        export(root, store)
    assert not list(store.root.glob("*"))


def test_8_bits_are_for_sentences_only(folder: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="--int8 is for sbert"):
        export_chronos(ExportOptions(folder(), "chronos-tiny", lambda _: None, int8=True))
