"""The port of the training room: what a trainer is given, and what it hands back.

A trainer never sees a query of an evaluation: whoever calls it splits first (`split.py`) and passes the base.
It neither reads days nor writes models: `LabelledRows` is read by `days_data.py`, and a `TrainedModel` becomes a
stored one through `installing.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.common.embedding.manifest import InputSchema
    from services.common.embedding.port import Metric


@dataclass(frozen=True)
class HostWindowRows:
    """The distinct windows of some events: each is one source host at one step of time.

    m windows, as `services/common/events/windows.py` defines them.
    """

    values: NDArray[np.float32]  # (m, steps, channels), counts, bytes and scores as they are
    hosts: NDArray[np.int64]  # (m,), equal where the host is the same
    steps: NDArray[np.int64]  # (m,), the number of the window's last step since 1970 UTC

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class LabelledRows:
    """n events in order of time, with what each index is made from and the class of each.

    A label is `custom_metadata.label` where the event has one, else its final classification; labels only score
    and train: they are never among the features.
    """

    features: NDArray[np.float32]  # (n, len(FEATURES)), 0 where missing
    present: NDArray[np.bool_]  # (n, len(FEATURES))
    labels: NDArray[np.str_]  # (n,)
    time_ns: NDArray[np.int64]  # (n,), nanoseconds since 1970 UTC, ascending
    windows: HostWindowRows
    window_of: NDArray[np.int64]  # (n,), the window of each event

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> LabelledRows:
        """Some of the rows: a mask (n,), or ascending numbers of rows. Only windows that they have stay."""
        used, window_of = np.unique(self.window_of[rows], return_inverse=True)
        windows = HostWindowRows(
            self.windows.values[used], self.windows.hosts[used], self.windows.steps[used]
        )
        return LabelledRows(
            self.features[rows],
            self.present[rows],
            self.labels[rows],
            self.time_ns[rows],
            windows,
            window_of.astype(np.int64),
        )


@dataclass(frozen=True)
class TrainOptions:
    """How to train. The same rows and options give the same model on the same machine."""

    seed: int = 1
    seconds: float = 120.0
    """A trainer ends after so much time at the latest, with what it has learned; one that ends so is not repeatable."""
    threads: int = 2


@dataclass(frozen=True)
class TrainedModel:
    """A model that was made, in memory: its files, what its manifest says of it, and figures taken meanwhile."""

    name: str
    version: str
    files: dict[str, bytes]
    input: InputSchema
    dim: int
    metric: Metric
    training_data: str
    """What it was fitted on, in one or two sentences for the manifest."""
    measured: dict[str, float]
    rows_at_once: int = 1024
    """Rows or windows of one run at most: what a large model needs to stay within its memory."""


class Report(Protocol):
    """Told how far a trainer is."""

    def __call__(self, step: str, done: int, total: int, /) -> None:
        """`step` in a few words ("epoch"), and `done` of `total` of them. Must return at once."""


class Trainer(Protocol):
    """Makes a model from labelled rows."""

    def __call__(self, rows: LabelledRows, options: TrainOptions, report: Report, /) -> TrainedModel:
        """Train on all of `rows`. Blocks for seconds to minutes, on `options.threads` processors.

        Raises:
            AppiaError: the rows cannot teach such a model, or a package is not installed; one sentence why.
        """
