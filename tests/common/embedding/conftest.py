"""Small real models: graphs of the build scripts with random weights, a tokenizer of a dozen words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from models.pca_graph import LogProjection
from services.common.embedding.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    InputSchema,
    MadeBy,
    Manifest,
    texts_schema_hash,
)
from services.common.embedding.store import ModelStore, sha256_of
from services.training.bert_graph import BertGraph, BertShape

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FEATURES_HASH = "f" * 64
WORDS = (
    "[PAD]",
    "[CLS]",
    "[SEP]",
    "[UNK]",
    "short",
    "long",
    "web",
    "mail",
    "connection",
    "scan",
    "in",
    "out",
)
TEXT_TOKENS = 8
HIDDEN = 12


def rows_model(width: int = 5, dim: int = 3, seed: int = 0) -> bytes:
    random = np.random.default_rng(seed)
    projection = LogProjection(
        (width,), np.zeros(width), np.ones(width), random.standard_normal((width, dim))
    )
    return projection.to_onnx()


def tokenizer_json() -> bytes:
    words = {word: row for row, word in enumerate(WORDS)}
    tokenizer = Tokenizer(WordLevel(words, unk_token=WORDS[3]))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return str(tokenizer.to_str()).encode()


def texts_model() -> bytes:
    random = np.random.default_rng(1)

    def weight(*shape: int) -> Any:
        return random.standard_normal(shape).astype(np.float32) * np.float32(0.5)

    weights = {
        "embeddings.word_embeddings.weight": weight(len(WORDS), HIDDEN),
        "embeddings.position_embeddings.weight": weight(16, HIDDEN),
        "embeddings.token_type_embeddings.weight": weight(2, HIDDEN),
    }
    layer = "encoder.layer.0"
    dense = {
        f"{layer}.attention.self.query": (HIDDEN, HIDDEN),
        f"{layer}.attention.self.key": (HIDDEN, HIDDEN),
        f"{layer}.attention.self.value": (HIDDEN, HIDDEN),
        f"{layer}.attention.output.dense": (HIDDEN, HIDDEN),
        f"{layer}.intermediate.dense": (2 * HIDDEN, HIDDEN),
        f"{layer}.output.dense": (HIDDEN, 2 * HIDDEN),
    }
    for name, shape in dense.items():
        weights |= {f"{name}.weight": weight(*shape), f"{name}.bias": weight(shape[0])}
    for name in ("embeddings", f"{layer}.attention.output", f"{layer}.output"):
        weights |= {f"{name}.LayerNorm.weight": weight(HIDDEN), f"{name}.LayerNorm.bias": weight(HIDDEN)}
    shape = BertShape(layers=1, heads=3, max_tokens=TEXT_TOKENS)
    return bytes(BertGraph(weights, shape, small_table=True).build().SerializeToString())


def manifest_of(files: dict[str, bytes], **changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "format": 1,
        "name": "attack",
        "version": "1",
        "files": {name: sha256_of(data) for name, data in files.items()},
        "input": InputSchema(kind="features", hash=FEATURES_HASH, shape=(5,)),
        "dim": 3,
        "metric": "l2",
        "licence": "Apache-2.0",
        "training_data": "none",
        "measured": {"microseconds_per_row": 1.5},
        "made_by": MadeBy(script="a test", arguments=(), libraries={}),
        "inputs_digest": "0" * 64,
        "created": "2026-01-22T00:00:00+00:00",
    }
    return Manifest(**fields | changes)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    return manifest_of


@pytest.fixture
def model_bytes() -> bytes:
    return rows_model()


@pytest.fixture
def install(store: ModelStore) -> Callable[..., Manifest]:
    """Install `files` (a small model of 5 features by default) and return their manifest."""

    def installed(files: dict[str, bytes] | None = None, **changes: Any) -> Manifest:
        files = files or {MODEL_FILE: rows_model()}
        manifest = manifest_of(files, **changes)
        with store.stage(manifest.name) as staged:
            for name, data in files.items():
                (staged / name).write_bytes(data)
            (staged / MANIFEST_FILE).write_bytes(manifest.to_json())
            store.install(staged)
        return manifest

    return installed


@pytest.fixture
def install_texts(install: Callable[..., Manifest]) -> Callable[..., Manifest]:
    """Install the small text model; `input_hash` overrides that of its input, `tokenizer` the file."""

    def installed(input_hash: str = "", tokenizer: bytes = tokenizer_json()) -> Manifest:
        schema = InputSchema(
            kind="texts",
            hash=input_hash or texts_schema_hash(sha256_of(tokenizer), TEXT_TOKENS),
            shape=(TEXT_TOKENS,),
        )
        files = {MODEL_FILE: texts_model(), TOKENIZER_FILE: tokenizer}
        return install(files, name="semantic", input=schema, dim=HIDDEN, metric="cosine")

    return installed
