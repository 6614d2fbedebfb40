"""The project's own recorded traffic as what models are fitted on: events in order of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.making import PROJECT
from services.common.errors import AppiaError
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.feed.readers.cicflowmeter import CicFlowMeterReader
from services.feed.readers.port import LabelMode, ReadOptions, Refusal
from services.training.measuring import measure_graph

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.pca_graph import LogProjection

FOLDER = PROJECT / "samples"
PATTERN = "*.csv.gz"
TIMED_ROWS = 4096


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
    """The figures of a graph over `values` (n, *shape), compared with numpy, see `measure_graph`."""
    rows = np.resize(values, (TIMED_ROWS, *values.shape[1:]))
    return measure_graph(model, rows, fitted.apply(rows), "numpy")
