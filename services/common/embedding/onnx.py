"""The ONNX adapters of the embedding port: onnxruntime on the processor, fed from checked bytes.

Memory stays flat: the runtime's arena, which only grows, is off, and inputs are run in batches of a fixed
size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from services.common.embedding.manifest import MODEL_FILE, TOKENIZER_FILE, texts_schema_hash
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.common.embedding.manifest import Manifest
    from services.common.embedding.port import Metric
    from services.common.embedding.store import LoadedModel

_LOG_ERRORS_ONLY = 3
_NUMERIC_INPUT = "values"
# Measured on MiniLM int8 with onnxruntime 1.31, one thread: the fused kernel takes 48 us where the
# plain LayerNormalization takes 10 (480 against 620 sentences/s).
_SLOWER_FUSIONS = ["SkipLayerNormFusion"]


@dataclass(frozen=True)
class OnnxSettings:
    """How models run: threads of one model, and the rows or windows of one run (its memory bound)."""

    threads: int = 1
    rows_at_once: int = 1024


def _session(model: LoadedModel, settings: OnnxSettings) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _LOG_ERRORS_ONLY
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # Only what the store has looked into: the runtime's own format would pass by that.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return onnxruntime.InferenceSession(
            model.files[MODEL_FILE],
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=_SLOWER_FUSIONS,
        )
    except Exception as error:  # its fifteen kinds have no other base, and any of them means this
        raise AppiaError(_unusable(model.manifest, error)) from error


def _tokenizer(model: LoadedModel) -> Tokenizer:
    try:
        return Tokenizer.from_str(model.files[TOKENIZER_FILE].decode())
    except Exception as error:  # the library raises nothing more special
        raise AppiaError(_unusable(model.manifest, error)) from error


def _unusable(manifest: Manifest, error: Exception) -> str:
    told = " ".join(str(error).split())[:300]
    return f"The model {manifest.model_id} cannot be opened ({told}); build the models again."


def _check_kind(manifest: Manifest, kind: str) -> None:
    if manifest.input.kind != kind:
        raise AppiaError(
            f"The model {manifest.model_id} takes {manifest.input.kind}, not {kind}: use another model."
        )


def _check_hash(manifest: Manifest, expected_hash: str) -> None:
    if manifest.input.hash != expected_hash:
        raise AppiaError(
            f"The model {manifest.model_id} was made for the {manifest.input.kind} schema "
            f"{manifest.input.hash[:12]}, this program uses {expected_hash[:12]}; "
            "build the models again with `appia models build`."
        )


class _OnnxModel:
    def __init__(self, model: LoadedModel, settings: OnnxSettings) -> None:
        self._manifest = model.manifest
        self._settings = settings
        self._session = _session(model, settings)
        shape = self._session.get_outputs()[0].shape
        if len(shape) != 2 or shape[1] != self.dim:
            raise AppiaError(
                f"The model {self.model_id} gives vectors of the shape {shape}, its manifest says {self.dim} "
                "components; build the models again."
            )

    @property
    def model_id(self) -> str:
        """See `Embedder.model_id`."""
        return self._manifest.model_id

    @property
    def name(self) -> str:
        """See `Embedder.name`."""
        return self._manifest.name

    @property
    def dim(self) -> int:
        """See `Embedder.dim`."""
        return self._manifest.dim

    @property
    def metric(self) -> Metric:
        """See `Embedder.metric`."""
        return self._manifest.metric

    def _run(self, inputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        return np.asarray(self._session.run(None, inputs)[0], np.float32)


class OnnxArrays(_OnnxModel):
    """Embeds float32 arrays (n, *shape): a `RowEmbedder` or a `WindowEmbedder`, as the model's kind says.

    `kind` is "features", "windows" or "profiles", `schema_hash` the hash of the running program's schema of that kind.
    Raises AppiaError if the model was made for another input.
    """

    def __init__(self, model: LoadedModel, kind: str, schema_hash: str, settings: OnnxSettings) -> None:
        _check_kind(model.manifest, kind)
        _check_hash(model.manifest, schema_hash)
        super().__init__(model, settings)

    def embed(self, values: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Vectors (n, dim) of `values` (n, *shape). Raises ValueError if the shape is another."""
        shape = self._manifest.input.shape
        if values.shape[1:] != shape:
            raise ValueError(f"{self.model_id} takes arrays of shape (n, {shape}), not {values.shape}")
        vectors = np.empty((len(values), self.dim), np.float32)
        step = min(self._settings.rows_at_once, self._manifest.rows_at_once)
        for start in range(0, len(values), step):
            batch = np.ascontiguousarray(values[start : start + step], np.float32)
            vectors[start : start + step] = self._run({_NUMERIC_INPUT: batch})
        return vectors


class OnnxTexts(_OnnxModel):
    """Embeds texts with the tokenizer that came with the model: a `TextEmbedder`.

    Texts are run one at a time. An 8-bit model measures the range of its activations over the whole batch, so
    in a batch the vector of a text depends on its neighbours (measured: cosine down to 0.985 between two
    batchings); alone, the same text gives the same vector for ever, and on one thread it is no slower.
    """

    def __init__(self, model: LoadedModel, settings: OnnxSettings) -> None:
        _check_kind(model.manifest, "texts")
        (max_tokens,) = model.manifest.input.shape
        _check_hash(model.manifest, texts_schema_hash(model.manifest.files[TOKENIZER_FILE], max_tokens))
        super().__init__(model, settings)
        self._tokenizer = _tokenizer(model)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Unit vectors (n, dim) of n texts, each cut after the model's longest input."""
        vectors = np.empty((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            ids = np.array([self._tokenizer.encode(text).ids], np.int64)
            vectors[row] = self._run({"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
        return vectors
