"""The encoder of a Chronos T5 model over windows as one ONNX graph, made straight from named weight arrays.

Chronos ("Chronos: Learning the Language of Time Series", Ansari et al., 2024, arXiv 2403.07815) reads numbers as
words: a series is divided by the mean of its absolute values, each number becomes the number of the bin it falls
into, and a T5 encoder ("Exploring the Limits of Transfer Learning", Raffel et al., 2020) reads the words. Here each
channel of a window is one series; the vectors of all words and channels are averaged and brought to length 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.training.graph_builder import FLOAT, INT64, GraphBuilder, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from onnx import ModelProto


@dataclass(frozen=True)
class Bins:
    """How numbers become words.

    `boundaries`, float32 (b,) ascending, are the borders of the bins; those between the first and the last are
    evenly spaced. Bin i, counted from 1, holds boundaries[i - 1] <= x < boundaries[i]; its word is i +
    `special_words`, at most `words` - 1. `end_word` closes a series where it is not None.
    """

    boundaries: NDArray[np.float32]
    words: int
    special_words: int
    end_word: int | None


@dataclass(frozen=True)
class T5Shape:
    """What the arrays of a T5 encoder do not tell; `gated` is the feed-forward layer of T5 1.1."""

    layers: int
    heads: int
    buckets: int
    max_distance: int
    gated: bool
    layer_norm_eps: float = 1e-6


def position_buckets(length: int, buckets: int, max_distance: int) -> NDArray[np.int64]:
    """The bucket of each distance between two words, int64 (length, length) by reading and read word.

    Half of the buckets are for words behind, half for those before; of each half one half is for one distance each,
    the other for distances growing logarithmically up to `max_distance` (Raffel et al., section 2.1).
    """
    half = buckets // 2
    exact = half // 2
    ahead = np.arange(length)[None, :] - np.arange(length)[:, None]
    distance = np.abs(ahead)
    growth = np.log(np.maximum(distance, 1) / exact) / math.log(max_distance / exact) * (half - exact)
    far = np.minimum(exact + growth.astype(np.int64), half - 1)
    return np.asarray(np.where(ahead > 0, half, 0) + np.where(distance < exact, distance, far), np.int64)


class T5WindowGraph:
    """Builds the graph for windows of `steps` x `channels`; weights carry the names of `T5EncoderModel`."""

    def __init__(
        self, weights: Mapping[str, NDArray[np.float32]], shape: T5Shape, bins: Bins, window: tuple[int, int]
    ) -> None:
        self._weights = weights
        self._shape = shape
        self._bins = bins
        self._steps, self._channels = window
        self._width = int(weights["shared.weight"].shape[1])
        self._graph = GraphBuilder()

    def build(self) -> ModelProto:
        """The checked model: values (n, steps, channels) float32 -> embedding (n, d_model), unit vectors."""
        graph = self._graph
        graph.scalar("epsilon", self._shape.layer_norm_eps)
        state = graph.node("Gather", self._weight("shared.weight"), self._words(self._series()))
        bias = self._position_bias()
        for layer in range(self._shape.layers):
            block = f"encoder.block.{layer}.layer"
            state = graph.node("Add", state, self._attention(f"{block}.0", state, bias))
            state = graph.node("Add", state, self._feed_forward(f"{block}.1", state))
        self._pool(self._normalise("encoder.final_layer_norm", state))
        given = Value("values", FLOAT, ("n", self._steps, self._channels))
        return graph.model("chronos_encoder", [given], Value("embedding", FLOAT, ("n", self._width)))

    def _weight(self, name: str) -> str:
        return self._graph.constant(name, self._weights[name])

    def _series(self) -> str:
        """Each channel as a row (n * channels, steps), divided by the mean of its absolute values."""
        graph = self._graph
        by_channel = graph.node("Transpose", "values", perm=[0, 2, 1])
        rows = graph.node("Reshape", by_channel, graph.ints("rows", -1, self._steps))
        total = graph.node("ReduceSum", graph.node("Abs", rows), graph.ints("over_steps", 1))
        mean = graph.node("Div", total, graph.scalar("steps", self._steps))
        active = graph.node("Greater", mean, graph.scalar("nothing", 0.0))
        # A silent channel has no scale of its own; it stays as it is.
        return graph.node("Div", rows, graph.node("Where", active, mean, graph.scalar("one", 1.0)))

    def _words(self, series: str) -> str:
        """The word of each number, int64 (n * channels, steps), and the closing one.

        The bin is computed, and then moved by one where rounding put a number on the wrong side of a border.
        """
        graph, borders = self._graph, self._bins.boundaries
        inner = borders[1:-1].astype(np.float64)
        graph.constant("borders", borders)
        first = graph.scalar("first_border", float(inner[0]))
        per_bin = graph.scalar("bins_per_unit", (len(inner) - 1) / (inner[-1] - inner[0]))
        steps = graph.node("Floor", graph.node("Mul", graph.node("Sub", series, first), per_bin))
        guess = graph.node("Add", steps, graph.scalar("two", 2.0))
        low = graph.node("Max", guess, graph.scalar("lowest_bin", 1.0))
        bins = graph.node(
            "Cast", graph.node("Min", low, graph.scalar("highest_bin", len(borders) - 1)), to=INT64
        )
        above = graph.node("GreaterOrEqual", series, graph.node("Gather", "borders", bins))
        before = graph.node("Sub", bins, graph.ints("one_bin", 1))
        below = graph.node("Less", series, graph.node("Gather", "borders", before))
        raised = graph.node("Add", bins, graph.node("Cast", above, to=INT64))
        exact = graph.node("Sub", raised, graph.node("Cast", below, to=INT64))
        word = graph.node("Add", exact, graph.ints("special_words", self._bins.special_words))
        words = graph.node("Min", word, graph.ints("last_word", self._bins.words - 1))
        return self._closed(words)

    def _closed(self, words: str) -> str:
        if self._bins.end_word is None:
            return words
        end = self._graph.ints("end_word", self._bins.end_word)
        return self._graph.node("Pad", words, self._graph.ints("one_behind", 0, 0, 0, 1), end)

    def _length(self) -> int:
        return self._steps + (self._bins.end_word is not None)

    def _position_bias(self) -> str:
        """(1, heads, length, length), the same for each layer."""
        table = self._weights["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        buckets = position_buckets(self._length(), self._shape.buckets, self._shape.max_distance)
        return self._graph.constant("position_bias", table[buckets].transpose(2, 0, 1)[None])

    def _normalise(self, prefix: str, value: str) -> str:
        """Divide by the root mean square over the last axis (T5 subtracts no mean)."""
        graph = self._graph
        square = graph.node(
            "ReduceMean", graph.node("Mul", value, value), graph.ints("over_width", -1), keepdims=1
        )
        size = graph.node("Sqrt", graph.node("Add", square, "epsilon"))
        return graph.node("Mul", graph.node("Div", value, size), self._weight(f"{prefix}.weight"))

    def _dense(self, name: str, value: str) -> str:
        matrix = self._graph.constant(f"{name}.weight", self._weights[f"{name}.weight"].T)
        return self._graph.node("MatMul", value, matrix)

    def _attention(self, prefix: str, state: str, bias: str) -> str:
        """Self-attention of T5: the products of queries and keys are not scaled."""
        graph, heads = self._graph, self._shape.heads
        given = self._normalise(f"{prefix}.layer_norm", state)
        width = len(self._weights[f"{prefix}.SelfAttention.q.weight"]) // heads
        by_head = graph.ints("by_head", 0, 0, heads, width)
        query, key, value = (
            graph.node("Reshape", self._dense(f"{prefix}.SelfAttention.{part}", given), by_head)
            for part in "qkv"
        )
        query, value = (graph.node("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, value))
        scores = graph.node("MatMul", query, graph.node("Transpose", key, perm=[0, 2, 3, 1]))
        chances = graph.node("Softmax", graph.node("Add", scores, bias), axis=-1)
        context = graph.node("Transpose", graph.node("MatMul", chances, value), perm=[0, 2, 1, 3])
        joined = graph.node("Reshape", context, graph.ints("joined", 0, 0, heads * width))
        return self._dense(f"{prefix}.SelfAttention.o", joined)

    def _feed_forward(self, prefix: str, state: str) -> str:
        graph, inner = self._graph, f"{prefix}.DenseReluDense"
        given = self._normalise(f"{prefix}.layer_norm", state)
        if self._shape.gated:
            gate = graph.node("Gelu", self._dense(f"{inner}.wi_0", given), approximate="tanh")
            return self._dense(f"{inner}.wo", graph.node("Mul", gate, self._dense(f"{inner}.wi_1", given)))
        return self._dense(f"{inner}.wo", graph.node("Relu", self._dense(f"{inner}.wi", given)))

    def _pool(self, state: str) -> None:
        """The mean over words and channels of each window, brought to length 1."""
        graph = self._graph
        words = self._length() * self._channels
        by_window = graph.node("Reshape", state, graph.ints("by_window", -1, words, self._width))
        mean = graph.node("ReduceMean", by_window, graph.ints("over_words", 1), keepdims=0)
        length = graph.node("ReduceL2", mean, graph.ints("over_components", 1), keepdims=1)
        graph.named("Div", "embedding", mean, graph.node("Max", length, graph.scalar("tiny", 1e-12)))
