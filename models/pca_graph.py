"""Signed log, scaling and a linear projection as one ONNX graph, and the parts of fitting it.

    vector = clip((sign(x) * log(1 + |x|) - centre) / scale, -8, 8) flattened, times the projection

The logarithm brings counts and bytes of any size onto one scale. The clipping bounds what one odd number can
do: on traffic unlike the sample, a single column never outweighs all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

OPSET = 20
IR_VERSION = 9
LIMIT = 8.0


@dataclass(frozen=True)
class LogProjection:
    """Inputs (n, *shape); `centre` and `scale` (shape[-1],); `projection` (product of shape, dim)."""

    shape: tuple[int, ...]
    centre: Matrix
    scale: Matrix
    projection: Matrix

    def apply(self, values: NDArray[np.floating]) -> Matrix:
        """Vectors (n, dim) of `values` (n, *shape), in numpy with 64 bits."""
        scaled = np.clip((signed_log(values) - self.centre) / self.scale, -LIMIT, LIMIT)
        return np.asarray(scaled.reshape(len(values), -1) @ self.projection, np.float64)

    def to_onnx(self) -> bytes:
        """The checked model: values (n, *shape) float32 -> embedding (n, dim) float32."""
        constants = {
            "one": np.array(1.0),
            "centre": self.centre,
            "inverse_scale": 1.0 / self.scale,
            "projection": self.projection,
            "low": np.array(-LIMIT),
            "high": np.array(LIMIT),
        }
        initializers = [
            numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()
        ]
        initializers.append(numpy_helper.from_array(np.array([-1, len(self.projection)], np.int64), "flat"))
        steps = [
            ("Abs", "size", "values"),
            ("Add", "size_and_one", "size", "one"),
            ("Log", "log", "size_and_one"),
            ("Sign", "sign", "values"),
            ("Mul", "signed_log", "log", "sign"),
            ("Sub", "centred", "signed_log", "centre"),
            ("Mul", "scaled", "centred", "inverse_scale"),
            ("Clip", "clipped", "scaled", "low", "high"),
            ("Reshape", "row", "clipped", "flat"),
            ("MatMul", "embedding", "row", "projection"),
        ]
        nodes = [
            helper.make_node(operator, inputs, [output], name=output) for operator, output, *inputs in steps
        ]
        given = helper.make_tensor_value_info("values", TensorProto.FLOAT, ["n", *self.shape])
        made = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", self.projection.shape[1]])
        graph = helper.make_graph(nodes, "log_projection", [given], [made], initializers)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())


def signed_log(values: NDArray[np.floating]) -> Matrix:
    """sign(x) * log(1 + |x|), element by element, with 64 bits."""
    wide = values.astype(np.float64)
    return np.asarray(np.sign(wide) * np.log1p(np.abs(wide)), np.float64)


def principal_axes(covariance: Matrix, count: int) -> tuple[Matrix, Matrix]:
    """The `count` axes of largest variance as columns (d, count), and the variance of all d, largest first.

    The largest component of each axis is made positive, so that the same data gives the same axes.
    """
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = variances[::-1], axes[:, ::-1]
    strongest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return (axes * np.where(strongest < 0, -1.0, 1.0))[:, :count], np.maximum(variances, 0.0)
