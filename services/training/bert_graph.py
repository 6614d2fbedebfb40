"""A BERT sentence encoder as one ONNX graph, made straight from named weight arrays.

The graph uses the standard ONNX operators only (opset 20), so that no runtime extension is needed:
token ids and attention mask in, pooled unit vectors out. The architecture is that of "BERT: Pre-training
of Deep Bidirectional Transformers" (Devlin et al., 2019), the pooling that of "Sentence-BERT" (Reimers and
Gurevych, 2019); weights carry the names of the transformers library's `BertModel`. RoBERTa (Liu et al., 2019)
and XLM-RoBERTa differ in the first position only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from services.training.graph_builder import BOOL, FLOAT, INT64, GraphBuilder, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from onnx import ModelProto

MASKED = -1e9

Activation = Literal["gelu", "gelu_tanh", "relu"]
Pooling = Literal["mean", "cls", "max"]


@dataclass(frozen=True)
class BertShape:
    """What the arrays of a BERT encoder do not tell.

    `first_position` is the row of the position table that the first token gets (RoBERTa: behind the padding's).
    """

    layers: int
    heads: int
    max_tokens: int
    layer_norm_eps: float = 1e-12
    first_position: int = 0
    activation: Activation = "gelu"
    pooling: Pooling = "mean"


def quantise_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric 8-bit form of the rows of `table` (n, d): int8 (n, d), and float32 scales (n, 1)."""
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / np.float32(127)
    return np.rint(table / scale).astype(np.int8), scale.astype(np.float32)


class BertGraph:
    """Builds the graph: `build` gives the fp32 model; with `small_table` the word table is held in 8 bits."""

    def __init__(
        self, weights: Mapping[str, NDArray[np.float32]], shape: BertShape, *, small_table: bool
    ) -> None:
        self._weights = weights
        self._shape = shape
        self._small_table = small_table
        self._hidden = int(weights["embeddings.word_embeddings.weight"].shape[1])
        self._graph = GraphBuilder()

    def build(self) -> ModelProto:
        """The checked model: input_ids, attention_mask (batch, tokens) int64 -> embedding (batch, hidden)."""
        mask = self._graph.node("Cast", "attention_mask", to=FLOAT)
        bias = self._attention_bias(mask)
        state = self._embeddings()
        for layer in range(self._shape.layers):
            state = self._layer(f"encoder.layer.{layer}", state, bias)
        self._normalise_length(self._pool(state, mask))
        inputs = [Value(name, INT64, ("batch", "tokens")) for name in ("input_ids", "attention_mask")]
        return self._graph.model(
            "sentence_encoder", inputs, Value("embedding", FLOAT, ("batch", self._hidden))
        )

    def _weight(self, name: str) -> str:
        return self._graph.constant(name, self._weights[name])

    def _attention_bias(self, mask: str) -> str:
        graph = self._graph
        absent = graph.node("Sub", graph.scalar("one", 1.0), mask)
        wide = graph.node("Unsqueeze", absent, graph.ints("axes_head_query", 1, 2))
        return graph.node("Mul", wide, graph.scalar("masked", MASKED))

    def _words(self) -> str:
        graph = self._graph
        table = self._weights["embeddings.word_embeddings.weight"]
        if not self._small_table:
            return graph.node("Gather", graph.constant("words", table), "input_ids")
        small, scale = quantise_rows(table)
        rows = graph.node("Gather", graph.constant("words", small), "input_ids")
        scales = graph.node("Gather", graph.constant("word_scales", scale), "input_ids")
        return graph.node("Mul", graph.node("Cast", rows, to=FLOAT), scales)

    def _embeddings(self) -> str:
        graph, first = self._graph, self._shape.first_position
        kinds = self._weights["embeddings.token_type_embeddings.weight"]
        table = self._weights["embeddings.position_embeddings.weight"]
        positions = table[first : first + self._shape.max_tokens] + kinds[0]
        length = graph.node("Shape", "input_ids", start=1, end=2)
        used = graph.node(
            "Slice",
            graph.constant("positions", positions),
            graph.ints("from", 0),
            length,
            graph.ints("axis", 0),
        )
        return self._normalise("embeddings.LayerNorm", graph.node("Add", self._words(), used))

    def _normalise(self, prefix: str, value: str) -> str:
        scale, bias = self._weight(f"{prefix}.weight"), self._weight(f"{prefix}.bias")
        epsilon = self._shape.layer_norm_eps
        return self._graph.node("LayerNormalization", value, scale, bias, axis=-1, epsilon=epsilon)

    def _dense(self, name: str, value: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        graph = self._graph
        product = graph.node("MatMul", value, graph.constant(f"{name}.weight", weight.T))
        return graph.node("Add", product, graph.constant(f"{name}.bias", bias))

    def _named_dense(self, name: str, value: str) -> str:
        return self._dense(name, value, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _activate(self, value: str) -> str:
        if self._shape.activation == "relu":
            return self._graph.node("Relu", value)
        if self._shape.activation == "gelu_tanh":
            return self._graph.node("Gelu", value, approximate="tanh")
        return self._graph.node("Gelu", value)

    def _layer(self, prefix: str, state: str, bias: str) -> str:
        graph = self._graph
        attended = self._named_dense(f"{prefix}.attention.output.dense", self._attention(prefix, state, bias))
        state = self._normalise(f"{prefix}.attention.output.LayerNorm", graph.node("Add", attended, state))
        inner = self._activate(self._named_dense(f"{prefix}.intermediate.dense", state))
        outer = self._named_dense(f"{prefix}.output.dense", inner)
        return self._normalise(f"{prefix}.output.LayerNorm", graph.node("Add", outer, state))

    def _attention(self, prefix: str, state: str, bias: str) -> str:
        graph, heads = self._graph, self._shape.heads
        width = self._hidden // heads
        parts = [f"{prefix}.attention.self.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self._weights[f"{part}.weight"] for part in parts])
        offset = np.concatenate([self._weights[f"{part}.bias"] for part in parts])
        weight[: self._hidden] /= np.float32(np.sqrt(width))
        offset[: self._hidden] /= np.float32(np.sqrt(width))
        joined = self._dense(f"{prefix}.attention.self", state, weight, offset)
        by_head = graph.ints("by_head", 0, 0, heads, width)
        query, key, value = (graph.node("Reshape", part, by_head) for part in graph.split(joined, 3))
        query, value = (graph.node("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, value))
        scores = graph.node("MatMul", query, graph.node("Transpose", key, perm=[0, 2, 3, 1]))
        chances = graph.node("Softmax", graph.node("Add", scores, bias), axis=-1)
        context = graph.node("Transpose", graph.node("MatMul", chances, value), perm=[0, 2, 1, 3])
        return graph.node("Reshape", context, graph.ints("joined", 0, 0, self._hidden))

    def _pool(self, state: str, mask: str) -> str:
        graph = self._graph
        if self._shape.pooling == "cls":
            first = graph.node("Gather", state, graph.ints("first", 0), axis=1)
            return graph.node("Squeeze", first, graph.ints("over_tokens", 1))
        weights = graph.node("Unsqueeze", mask, graph.ints("axis_last", -1))
        over_tokens = graph.ints("over_tokens", 1)
        if self._shape.pooling == "max":
            present = graph.node("Cast", weights, to=BOOL)
            kept = graph.node("Where", present, state, graph.scalar("masked", MASKED))
            return graph.node("ReduceMax", kept, over_tokens, keepdims=0)
        # The mean's divisor cancels when the vector is brought to length 1, so the sum is enough.
        return graph.node("ReduceSum", graph.node("Mul", state, weights), over_tokens, keepdims=0)

    def _normalise_length(self, vector: str) -> None:
        graph = self._graph
        length = graph.node("ReduceL2", vector, graph.ints("over_width", 1), keepdims=1)
        graph.named("Div", "embedding", vector, graph.node("Max", length, graph.scalar("tiny", 1e-12)))
