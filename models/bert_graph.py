"""A BERT sentence encoder as one ONNX graph, made straight from named weight arrays.

The graph uses the standard ONNX operators only (opset 20), so that no runtime extension is needed:
token ids and attention mask in, mean-pooled unit vectors out. The architecture is that of "BERT: Pre-training
of Deep Bidirectional Transformers" (Devlin et al., 2019), the pooling that of "Sentence-BERT" (Reimers and
Gurevych, 2019); weights carry the names of the transformers library's `BertModel`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

OPSET = 20
IR_VERSION = 9
MASKED = -1e9


@dataclass(frozen=True)
class BertShape:
    """The sizes of a BERT encoder that the arrays alone do not tell."""

    layers: int
    heads: int
    max_tokens: int
    layer_norm_eps: float = 1e-12


class _Graph:
    """Collects nodes and initializers; every method returns the name of the value it made."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, Any] = {}

    def constant(self, name: str, array: NDArray[Any]) -> str:
        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.named(operator, f"{operator.lower()}_{len(self.nodes)}", *inputs, **attributes)

    def named(self, operator: str, output: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def split(self, value: str, parts: int) -> list[str]:
        outputs = [f"split_{len(self.nodes)}_{part}" for part in range(parts)]
        self.nodes.append(helper.make_node("Split", [value], outputs, axis=-1, num_outputs=parts))
        return outputs


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
        self._graph = _Graph()

    def build(self) -> ModelProto:
        """The checked model: input_ids, attention_mask (batch, tokens) int64 -> embedding (batch, hidden)."""
        graph = self._graph
        mask = graph.node("Cast", "attention_mask", to=TensorProto.FLOAT)
        bias = self._attention_bias(mask)
        state = self._embeddings()
        for layer in range(self._shape.layers):
            state = self._layer(f"encoder.layer.{layer}", state, bias)
        self._pool(state, mask)
        tokens = ["batch", "tokens"]
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, tokens)
            for name in ("input_ids", "attention_mask")
        ]
        output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", self._hidden])
        made = helper.make_graph(
            graph.nodes, "sentence_encoder", inputs, [output], list(graph.initializers.values())
        )
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        checker.check_model(model, full_check=True)
        return model

    def _ints(self, name: str, *values: int) -> str:
        return self._graph.constant(name, np.array(values, np.int64))

    def _scalar(self, name: str, value: float) -> str:
        return self._graph.constant(name, np.array(value, np.float32))

    def _weight(self, name: str) -> str:
        return self._graph.constant(name, self._weights[name])

    def _attention_bias(self, mask: str) -> str:
        graph = self._graph
        absent = graph.node("Sub", self._scalar("one", 1.0), mask)
        wide = graph.node("Unsqueeze", absent, self._ints("axes_head_query", 1, 2))
        return graph.node("Mul", wide, self._scalar("masked", MASKED))

    def _words(self) -> str:
        graph = self._graph
        table = self._weights["embeddings.word_embeddings.weight"]
        if not self._small_table:
            return graph.node("Gather", graph.constant("words", table), "input_ids")
        small, scale = quantise_rows(table)
        rows = graph.node("Gather", graph.constant("words", small), "input_ids")
        scales = graph.node("Gather", graph.constant("word_scales", scale), "input_ids")
        return graph.node("Mul", graph.node("Cast", rows, to=TensorProto.FLOAT), scales)

    def _embeddings(self) -> str:
        graph = self._graph
        kinds = self._weights["embeddings.token_type_embeddings.weight"]
        positions = (
            self._weights["embeddings.position_embeddings.weight"][: self._shape.max_tokens] + kinds[0]
        )
        length = graph.node("Shape", "input_ids", start=1, end=2)
        used = graph.node(
            "Slice",
            graph.constant("positions", positions),
            self._ints("from", 0),
            length,
            self._ints("axis", 0),
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

    def _layer(self, prefix: str, state: str, bias: str) -> str:
        graph = self._graph
        attended = self._named_dense(f"{prefix}.attention.output.dense", self._attention(prefix, state, bias))
        state = self._normalise(f"{prefix}.attention.output.LayerNorm", graph.node("Add", attended, state))
        inner = graph.node("Gelu", self._named_dense(f"{prefix}.intermediate.dense", state))
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
        by_head = self._ints("by_head", 0, 0, heads, width)
        query, key, value = (graph.node("Reshape", part, by_head) for part in graph.split(joined, 3))
        query, value = (graph.node("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, value))
        scores = graph.node("MatMul", query, graph.node("Transpose", key, perm=[0, 2, 3, 1]))
        chances = graph.node("Softmax", graph.node("Add", scores, bias), axis=-1)
        context = graph.node("Transpose", graph.node("MatMul", chances, value), perm=[0, 2, 1, 3])
        return graph.node("Reshape", context, self._ints("joined", 0, 0, self._hidden))

    def _pool(self, state: str, mask: str) -> None:
        graph = self._graph
        weights = graph.node("Unsqueeze", mask, self._ints("axis_last", -1))
        over_tokens = self._ints("over_tokens", 1)
        total = graph.node("ReduceSum", graph.node("Mul", state, weights), over_tokens, keepdims=0)
        # The mean's divisor cancels when the vector is brought to length 1, so the sum is enough.
        length = graph.node("ReduceL2", total, self._ints("over_width", 1), keepdims=1)
        graph.named("Div", "embedding", total, graph.node("Max", length, self._scalar("tiny", 1e-12)))
