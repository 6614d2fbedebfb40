"""The temporal encoder as one ONNX graph: windows of raw sums in, vectors out (`temporal_net.py` has the formulas)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from services.training.graph_builder import FLOAT, GraphBuilder, Value
from services.training.temporal_net import DIM, EVENTS, LARGEST, LEARNED, LIMIT, PER_EVENT, SPANS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.training.temporal_net import Encoder

NO_LENGTH = 1e-6


def encoder_graph(encoder: Encoder, shape: tuple[int, int]) -> bytes:
    """The checked model: values (n, *shape) float32, steps by channels -> embedding (n, DIM) float32."""
    graph = GraphBuilder()
    described = graph.node("Sub", _describe(graph, shape), graph.constant("centre", encoder.centre))
    described = graph.node("Mul", described, graph.constant("inverse_scale", 1 / encoder.scale))
    described = graph.node("Clip", described, graph.scalar("low", -LIMIT), graph.scalar("high", LIMIT))
    linear = graph.node("MatMul", described, graph.constant("axes", encoder.axes))
    graph.named("Concat", "embedding", linear, _learned(graph, encoder, described), axis=1)
    given = Value("values", FLOAT, ("n", *shape))
    model = graph.model("temporal_encoder", [given], Value("embedding", FLOAT, ("n", DIM)))
    return bytes(model.SerializeToString())


def _describe(graph: GraphBuilder, shape: tuple[int, int]) -> str:
    """(n, c), span after span, as `temporal_net.describe`."""
    steps, channels = shape
    windows = graph.node("Clip", "values", graph.scalar("none", 0.0), graph.scalar("largest", LARGEST))
    spans = graph.constant("spans", _spans(steps))
    totals = graph.node("MatMul", spans, windows)  # (n, spans, channels)
    events = _slice(graph, windows, 2, EVENTS, EVENTS + 1)
    active = graph.node("Cast", graph.node("Greater", events, graph.scalar("silence", 0.0)), to=FLOAT)
    counts = graph.node("MatMul", spans, active)  # (n, spans, 1)
    means = graph.node("Div", totals, graph.node("Max", counts, graph.scalar("one", 1.0)))
    logs = _log1p(graph, totals)
    per_event = graph.node(
        "Sub",
        _slice(graph, logs, 2, PER_EVENT.start, PER_EVENT.stop),
        _slice(graph, logs, 2, EVENTS, EVENTS + 1),
    )
    told = [_log1p(graph, means), _log1p(graph, _maxima(graph, windows, steps)), _log1p(graph, counts)]
    joined = graph.node("Concat", *told, per_event, axis=2)
    width = len(SPANS) * (2 * channels + 1 + PER_EVENT.stop - PER_EVENT.start)
    return graph.node("Reshape", joined, graph.ints("flat", -1, width))


def _spans(steps: int) -> NDArray[np.float32]:
    """(spans, steps): 1 where a step belongs to a span."""
    return np.stack([np.arange(steps) >= steps - span for span in SPANS]).astype(np.float32)


def _maxima(graph: GraphBuilder, windows: str, steps: int) -> str:
    """The largest step of each channel in each span, (n, spans, channels); a span is the one before and some more."""
    over_steps = graph.ints("over_steps", 1)
    found: list[str] = []
    for before, span in itertools.pairwise((0, *SPANS)):
        new = _slice(graph, windows, 1, steps - span, steps - before)
        largest = graph.node("ReduceMax", new, over_steps, keepdims=1)
        found.append(graph.node("Max", found[-1], largest) if found else largest)
    return graph.node("Concat", *found, axis=1)


def _slice(graph: GraphBuilder, value: str, axis: int, start: int, stop: int) -> str:
    bounds = [graph.ints(f"number_{number}", number) for number in (start, stop, axis)]
    return graph.node("Slice", value, *bounds)


def _log1p(graph: GraphBuilder, value: str) -> str:
    return graph.node("Log", graph.node("Add", value, graph.scalar("one", 1.0)))


def _learned(graph: GraphBuilder, encoder: Encoder, described: str) -> str:
    for number, (weight, bias) in enumerate(encoder.layers):
        if number:
            described = graph.node("Relu", described)
        product = graph.node("MatMul", described, graph.constant(f"weight_{number}", weight))
        described = graph.node("Add", product, graph.constant(f"bias_{number}", bias))
    length = graph.node("ReduceL2", described, graph.ints("over_width", 1), keepdims=1)
    unit = graph.node("Div", described, graph.node("Max", length, graph.scalar("no_length", NO_LENGTH)))
    return graph.node("Mul", unit, graph.scalar("learned", LEARNED))
