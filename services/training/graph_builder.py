"""Collects the operators of an ONNX graph, one by one, and makes the checked model of them.

Only operators of the standard domain (opset 20) are made here: the model store refuses others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

OPSET = 20
IR_VERSION = 9
INT64, FLOAT, BOOL = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL


@dataclass(frozen=True)
class Value:
    """An input or output of a graph: its name, its type (of `TensorProto`) and its sizes, texts being any size."""

    name: str
    type: int
    shape: tuple[int | str, ...]


class GraphBuilder:
    """Collects nodes and initializers; every method but `model` returns the name of the value it made."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._initializers: dict[str, Any] = {}

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """An array of the graph of at least one dimension; one name holds one array."""
        self._initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def ints(self, name: str, *values: int) -> str:
        """A list of whole numbers, int64 (n,)."""
        return self.constant(name, np.array(values, np.int64))

    def scalar(self, name: str, value: float) -> str:
        """One number, float32 (1,)."""
        return self.constant(name, np.array(value, np.float32))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The output of an operator, under a name made here."""
        return self.named(operator, f"{operator.lower()}_{len(self._nodes)}", *inputs, **attributes)

    def named(self, operator: str, output: str, *inputs: str, **attributes: Any) -> str:
        """The output of an operator, under the name `output`."""
        self._nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def split(self, value: str, parts: int) -> list[str]:
        """`value` cut along its last axis into equal parts."""
        outputs = [f"split_{len(self._nodes)}_{part}" for part in range(parts)]
        self._nodes.append(helper.make_node("Split", [value], outputs, axis=-1, num_outputs=parts))
        return outputs

    def model(self, name: str, inputs: Sequence[Value], output: Value) -> ModelProto:
        """The model, as `onnx.checker` finds it good. Raises onnx.checker.ValidationError where it does not."""
        given = [helper.make_tensor_value_info(value.name, value.type, value.shape) for value in inputs]
        made = helper.make_tensor_value_info(output.name, output.type, output.shape)
        graph = helper.make_graph(self._nodes, name, given, [made], list(self._initializers.values()))
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        checker.check_model(model, full_check=True)
        return model
