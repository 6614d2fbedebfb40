"""The project's own recorded traffic as what models are fitted on: events in order of time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from models.making import PROJECT
from services.common.errors import AppiaError
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.feed.readers.cicflowmeter import CicFlowMeterReader
from services.feed.readers.port import LabelMode, ReadOptions, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.pca_graph import LogProjection

FOLDER = PROJECT / "samples"
PATTERN = "*.csv.gz"
LARGEST_RELATIVE_DIFFERENCE = 1e-5
TIMED_ROWS = 4096
TIMINGS = 5


def sample_files(folder: Path = FOLDER) -> list[Path]:
    """The sample's files. Raises AppiaError where there are none."""
    files = sorted(folder.glob(PATTERN))
    if not files:
        raise AppiaError(f"There is no recorded traffic ({PATTERN}) in {folder} to make the model from.")
    return files


def read_events(files: Sequence[Path], labels: LabelMode = LabelMode.NONE) -> list[NetworkSecurityEvent]:
    """The flows of the files, by time, without their labels or with. Raises AppiaError on a row that is refused."""
    events = [event for file in files for event in _events(file, labels)]
    return sorted(events, key=lambda event: event.event_timestamp.ToNanoseconds())


def _events(file: Path, labels: LabelMode) -> Iterator[NetworkSecurityEvent]:
    for item in CicFlowMeterReader().read(str(file), ReadOptions(labels=labels)):
        if isinstance(item, Refusal):
            raise AppiaError(f"The recorded traffic cannot be used: {item}")
        if isinstance(item, NetworkSecurityEvent):
            yield item


def measure(fitted: LogProjection, model: bytes, values: NDArray[np.float32]) -> dict[str, float]:
    """Relative difference of the graph from numpy over `values` (n, *shape), and microseconds per row.

    Raises:
        AppiaError: the graph does not do what numpy does.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    rows = np.resize(values, (TIMED_ROWS, *values.shape[1:]))
    found = np.asarray(session.run(None, {"values": rows})[0], np.float64)
    expected = fitted.apply(rows)
    difference = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    if difference > LARGEST_RELATIVE_DIFFERENCE:
        raise AppiaError(f"The model's graph differs from numpy by {difference:.1e}; it is not published.")
    seconds = min(_timed(session, rows) for _ in range(TIMINGS))
    return {
        "graph_to_numpy_relative_difference": difference,
        "microseconds_per_row_one_thread": seconds / TIMED_ROWS * 1e6,
    }


def _timed(session: onnxruntime.InferenceSession, rows: NDArray[np.float32]) -> float:
    started = time.perf_counter()
    session.run(None, {"values": rows})
    return time.perf_counter() - started
