"""The shipped models, built once into a cache; and the weights of a tiny random sentence encoder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from services.common.embedding.building import Builder, checkout
from services.common.embedding.store import ModelStore

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def built() -> ModelStore:
    """All models, from APPIA_TEST_MODELS if that is set, else built into .appia/models where not yet there."""
    root = Path(os.environ.get("APPIA_TEST_MODELS", PROJECT / ".appia" / "models"))
    Builder(checkout(), root, print).build()
    return ModelStore(root)


@pytest.fixture
def tiny_weights() -> dict[str, np.ndarray]:
    """Two layers of width 12 and 20 words, under the names of the transformers library."""
    random = np.random.default_rng(5)
    hidden, inner, words, positions = 12, 24, 20, 16

    def weight(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32) * np.float32(0.4)

    weights = {
        "embeddings.word_embeddings.weight": weight(words, hidden),
        "embeddings.position_embeddings.weight": weight(positions, hidden),
        "embeddings.token_type_embeddings.weight": weight(2, hidden),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in ("encoder.layer.0", "encoder.layer.1"):
        for part in ("query", "key", "value"):
            weights[f"{layer}.attention.self.{part}.weight"] = weight(hidden, hidden)
            weights[f"{layer}.attention.self.{part}.bias"] = weight(hidden)
        shapes = {
            "attention.output": (hidden, hidden),
            "intermediate": (inner, hidden),
            "output": (hidden, inner),
        }
        for part, shape in shapes.items():
            weights[f"{layer}.{part}.dense.weight"] = weight(*shape)
            weights[f"{layer}.{part}.dense.bias"] = weight(shape[0])
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for norm in norms:
        weights |= {f"{norm}.weight": 1 + weight(hidden), f"{norm}.bias": weight(hidden)}
    return weights
