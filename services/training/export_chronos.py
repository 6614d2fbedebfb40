"""A folder of a Chronos T5 model as a model of the store: its encoder embeds the last hour of a host.

Format: `config.json` with `chronos_config`, and `model.safetensors`, as github.com/amazon-science/chronos-forecasting
writes them (class `MeanScaleUniformBins`). Chronos-Bolt and Chronos-2 read series in patches and are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from services.common.embedding.manifest import MODEL_FILE, InputSchema, windows_schema_hash
from services.common.errors import UsageError
from services.common.events.windows import CHANNELS, STEP_NS, STEPS
from services.training.exporting import arrays_of, checked_difference, load_torch, origin, read_facts
from services.training.port import TrainedModel
from services.training.t5_graph import Bins, T5Shape, T5WindowGraph

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from services.training.exporting import ExportOptions, Facts

WHAT = "a Chronos T5 folder"
TOKENIZER = "MeanScaleUniformBins"
CHECKED_WINDOWS = 24
# A window is 6 series of 65 words, enough for the processor: 16 at once took 180 MB more and were no faster.
WINDOWS_AT_ONCE = 1
_OPEN_END = np.float32(1e20)
_GATED = {"relu": False, "gated-gelu": True}


@dataclass(frozen=True)
class _Words:
    """The part of `chronos_config` that says how numbers become words."""

    low: float
    high: float
    words: int
    special_words: int
    end_word: int | None

    def boundaries(self) -> NDArray[np.float32]:
        """The borders of the bins, in the 32 bits that torch computes them with."""
        import torch  # noqa: PLC0415 - only the extra `train` has it

        centres = torch.linspace(self.low, self.high, self.words - self.special_words - 1)
        inner = ((centres[1:] + centres[:-1]) / 2).numpy()
        return np.concatenate([[-_OPEN_END], inner, [_OPEN_END]]).astype(np.float32)


def export_chronos(options: ExportOptions) -> TrainedModel:
    """Build the graph of a folder, check it, compare it with torch. Blocks for seconds to a minute.

    Raises:
        UsageError: the folder is none of Chronos T5, or its weights do not fit.
        AppiaError: the graph does not do what torch does.
    """
    if options.int8:
        raise UsageError("--int8 is for sbert: the words of Chronos change with the smallest rounding")
    config = read_facts(options.folder, "config.json", WHAT)
    shape, words = _read(options.folder, config)
    options.report("loading the weights")
    torch_model = load_torch(options.folder, "T5EncoderModel")
    bins = Bins(words.boundaries(), words.words, words.special_words, words.end_word)
    options.report("building the graph and comparing it with torch")
    window = (STEPS, len(CHANNELS))
    graph = T5WindowGraph(arrays_of(torch_model), shape, bins, window).build().SerializeToString()
    windows = check_windows()
    found = _run(graph, windows)
    return TrainedModel(
        name=options.name,
        version="1",
        files={MODEL_FILE: bytes(graph)},
        input=InputSchema(kind="windows", hash=windows_schema_hash(CHANNELS, STEPS, STEP_NS), shape=window),
        dim=found.shape[1],
        metric="cosine",
        training_data=origin(options.folder),
        measured={
            "graph_to_torch_largest_difference": checked_difference(
                found, torch_vectors(torch_model, words, windows)
            )
        },
        rows_at_once=WINDOWS_AT_ONCE,
    )


def check_windows() -> NDArray[np.float32]:
    """Windows (n, steps, channels) of silence, steady and bursty hosts of any size; the same each time."""
    random = np.random.default_rng(7)
    shape = (CHECKED_WINDOWS, STEPS, len(CHANNELS))
    values = np.exp(random.normal(0, 3, shape)) * 10.0 ** random.uniform(-2, 7, (CHECKED_WINDOWS, 1, 1))
    values *= random.random(shape) < random.random((CHECKED_WINDOWS, 1, 1))
    values[0] = 0
    values[1] = 1
    return values.astype(np.float32)


def _read(folder: Path, config: Facts) -> tuple[T5Shape, _Words]:
    if not isinstance(config.get("chronos_config"), dict):
        raise UsageError(f"{folder} is not {WHAT}: its config.json has no chronos_config")
    chronos = config.part("chronos_config")
    if config.get("model_type") != "t5" or chronos.get("tokenizer_class") != TOKENIZER:
        raise UsageError(
            f"{folder} holds another kind of Chronos; export knows those on T5 (chronos-t5-tiny to -base), "
            "not Chronos-Bolt or Chronos-2"
        )
    gated = _GATED.get(config.get("feed_forward_proj", "relu"))
    if gated is None:
        raise UsageError(f"the T5 in {folder} has a feed-forward layer that export does not know")
    limits, closes = chronos.part("tokenizer_kwargs"), chronos["use_eos_token"]
    words = _Words(
        low=limits["low_limit"],
        high=limits["high_limit"],
        words=chronos["n_tokens"],
        special_words=chronos["n_special_tokens"],
        end_word=chronos["eos_token_id"] if closes else None,
    )
    shape = T5Shape(
        layers=config["num_layers"],
        heads=config["num_heads"],
        buckets=config["relative_attention_num_buckets"],
        max_distance=config.get("relative_attention_max_distance", 128),
        gated=gated,
        layer_norm_eps=config["layer_norm_epsilon"],
    )
    return shape, words


def torch_vectors(model: Any, words: _Words, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors (n, d_model) of windows by torch: each channel in words, the encoder, the mean over all."""
    import torch  # noqa: PLC0415 - only the extra `train` has it

    series = torch.from_numpy(windows).transpose(1, 2).reshape(-1, windows.shape[1])
    scale = series.abs().mean(dim=1, keepdim=True)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    bins = torch.bucketize(series / scale, torch.from_numpy(words.boundaries()), right=True)
    ids = (bins + words.special_words).clamp(0, words.words - 1)
    if words.end_word is not None:
        ids = torch.nn.functional.pad(ids, (0, 1), value=words.end_word)
    with torch.no_grad():
        states = model(input_ids=ids).last_hidden_state
    pooled = states.reshape(len(windows), -1, states.shape[-1]).mean(dim=1)
    return np.asarray(torch.nn.functional.normalize(pooled, dim=1).numpy(), np.float32)


def _run(graph: bytes, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"values": windows})[0], np.float32)
