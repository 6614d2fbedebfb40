"""The attack encoder as one ONNX graph: features in, vectors out (`attack_net.py` has the formulas)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.training.attack_net import DIM, LIMIT, SHORTEST, WIDTH
from services.training.graph_builder import FLOAT, GraphBuilder, Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.training.attack_net import AttackEncoder


def encoder_graph(encoder: AttackEncoder) -> bytes:
    """The checked model: values (n, WIDTH) float32 -> embedding (n, DIM) float32."""
    graph = GraphBuilder()
    scaled = _scaled(graph, encoder)
    layers = encoder.layers
    inner = _dense(graph, "hidden", scaled, layers.hidden, layers.hidden_bias)
    outer = _dense(graph, "output", graph.node("Relu", inner), layers.output, layers.output_bias)
    length = graph.node("ReduceL2", outer, graph.ints("over_width", 1), keepdims=1)
    learned = graph.node("Div", outer, graph.node("Max", length, graph.scalar("shortest", SHORTEST)))
    kept = graph.node("Mul", scaled, graph.scalar("kept", encoder.scaling.kept))
    native = graph.node("Concat", learned, kept, axis=1)
    projection = graph.constant("projection", encoder.projection.astype(np.float32))
    graph.named("MatMul", "embedding", native, projection)
    given = Value("values", FLOAT, ("n", WIDTH))
    model = graph.model("attack_encoder", [given], Value("embedding", FLOAT, ("n", DIM)))
    return bytes(model.SerializeToString())


def _scaled(graph: GraphBuilder, encoder: AttackEncoder) -> str:
    """(n, WIDTH). The grid is folded into the scale: (round(log / grid) - centre / grid) * (grid / scale)."""
    scaling = encoder.scaling
    grid = scaling.grid
    size = graph.node("Add", graph.node("Abs", "values"), graph.scalar("one", 1.0))
    logs = graph.node("Mul", graph.node("Log", size), graph.node("Sign", "values"))
    steps = graph.node(
        "Round", graph.node("Mul", logs, graph.constant("inverse_grid", (1 / grid).astype(np.float32)))
    )
    centred = graph.node("Sub", steps, graph.constant("centre", (scaling.centre / grid).astype(np.float32)))
    factor = graph.constant("factor", (grid / scaling.scale).astype(np.float32))
    scaled = graph.node("Mul", centred, factor)
    return graph.node("Clip", scaled, graph.scalar("low", -LIMIT), graph.scalar("high", LIMIT))


def _dense(
    graph: GraphBuilder, name: str, value: str, weight: NDArray[np.float64], bias: NDArray[np.float64]
) -> str:
    product = graph.node("MatMul", value, graph.constant(f"{name}.weight", weight.astype(np.float32)))
    return graph.node("Add", product, graph.constant(f"{name}.bias", bias.astype(np.float32)))
