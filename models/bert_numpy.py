"""The same sentence encoder written a second time in plain numpy, to check the ONNX graph against.

It shares no code with `bert_graph`: separate query, key and value, a true mean over the tokens, and the exact
error function of the standard library. Slow on purpose; a few sentences are enough.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Weights = Mapping[str, NDArray[np.float32]]
    Matrix = NDArray[np.float64]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _dense(weights: Weights, name: str, x: Matrix) -> Matrix:
    return np.asarray(
        x @ weights[f"{name}.weight"].T.astype(np.float64) + weights[f"{name}.bias"], np.float64
    )


def _layer_norm(weights: Weights, name: str, x: Matrix, epsilon: float) -> Matrix:
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return np.asarray(centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"], np.float64)


def _gelu(x: Matrix) -> Matrix:
    return x * 0.5 * (1.0 + np.asarray(_erf(x / math.sqrt(2.0)), np.float64))


def _attention(weights: Weights, prefix: str, x: Matrix, heads: int) -> Matrix:
    width = x.shape[1] // heads
    query, key, value = (_dense(weights, f"{prefix}.self.{part}", x) for part in ("query", "key", "value"))
    out = np.empty_like(x)
    for head in range(heads):
        columns = slice(head * width, (head + 1) * width)
        scores = query[:, columns] @ key[:, columns].T / math.sqrt(width)
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        out[:, columns] = chances @ value[:, columns]
    return out


def encode(weights: Weights, ids: list[int], *, layers: int, heads: int, epsilon: float = 1e-12) -> Matrix:
    """The unit vector (hidden,) float64 of one sentence given as token ids, without padding."""
    x = weights["embeddings.word_embeddings.weight"][ids].astype(np.float64)
    x += weights["embeddings.position_embeddings.weight"][: len(ids)]
    x += weights["embeddings.token_type_embeddings.weight"][0]
    x = _layer_norm(weights, "embeddings.LayerNorm", x, epsilon)
    for layer in range(layers):
        prefix = f"encoder.layer.{layer}"
        attended = _dense(
            weights, f"{prefix}.attention.output.dense", _attention(weights, f"{prefix}.attention", x, heads)
        )
        x = _layer_norm(weights, f"{prefix}.attention.output.LayerNorm", x + attended, epsilon)
        inner = _gelu(_dense(weights, f"{prefix}.intermediate.dense", x))
        outer = _dense(weights, f"{prefix}.output.dense", inner)
        x = _layer_norm(weights, f"{prefix}.output.LayerNorm", x + outer, epsilon)
    mean = x.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), np.float64)
