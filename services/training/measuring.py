"""What is measured of every graph that the project makes: that it does what its formula says, and how fast."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_RELATIVE_DIFFERENCE = 1e-5
TIMINGS = 5
_LEAST_LENGTH = 1e-12
"""Rows that are all alike may have vectors of zeros."""


def measure_graph(
    graph: bytes, rows: NDArray[np.float32], expected: NDArray[np.floating], against: str
) -> dict[str, float]:
    """The relative difference of a graph's vectors from `expected`, microseconds for a row, and bytes of the file.

    Args:
        graph: an ONNX model whose input is named `values`.
        rows: what it is given (n, ...), n >= 1.
        expected: the vectors (n, dim) that `against`, such as "torch", computed.
        against: goes into the name of the figure.

    Raises:
        AppiaError: they differ by more than `LARGEST_RELATIVE_DIFFERENCE`.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    found = np.asarray(session.run(None, {"values": rows})[0], np.float64)
    length = max(float(np.linalg.norm(expected)), _LEAST_LENGTH)
    difference = float(np.linalg.norm(found - expected)) / length
    if difference > LARGEST_RELATIVE_DIFFERENCE:
        raise AppiaError(
            f"The model's graph differs from {against} by {difference:.1e}; it is not published."
        )
    seconds = min(_timed(session, rows) for _ in range(TIMINGS))
    return {
        f"graph_to_{against}_relative_difference": difference,
        "microseconds_per_row_one_thread": seconds / len(rows) * 1e6,
        "file_bytes": float(len(graph)),
    }


def _timed(session: onnxruntime.InferenceSession, rows: NDArray[np.float32]) -> float:
    started = time.perf_counter()
    session.run(None, {"values": rows})
    return time.perf_counter() - started
