"""Makes the temporal-pca model: 128 linear components of the last hour of a host, what `temporal` has to beat.

Run from the project's root: `python -m models.build_temporal_pca --store FOLDER`. A window is 64 steps of six
channels. Each channel is put on a log scale and divided by its typical size when something happens, so that
silence is 0 and an ordinary active step about 1 in every channel.

The components are those of largest variance, of two sources mixed: the windows of the project's own recorded
traffic, each also moved back in time by every number of steps, and a prior that says only that neighbouring
steps of a channel are alike. The sample is small; the prior decides what the sample says nothing about, and
makes every component defined.

Vectors are compared by Euclidean distance: how much a host did matters here as much as when, and the cosine
would throw that away and make noise of hosts that did almost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.making import Made, Recipe, parser, progress, run
from models.pca_graph import LogProjection, principal_axes, signed_log
from models.sample import measure, read_events, sample_files
from models.sample_hours import sample_hours
from services.common.embedding.manifest import MODEL_FILE, InputSchema, windows_schema_hash
from services.common.events.windows import CHANNELS, STEP_NS, STEPS

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

NAME = "temporal-pca"
DIM = 128
MOST_WINDOWS = 512
PRIOR_SHARE = 0.25
PRIOR_REACH_STEPS = 8.0


def fit(windows: NDArray[np.float32]) -> tuple[LogProjection, float]:
    """Fit to windows (m, steps, channels), m >= 1; also the share of the windows' variance that is kept.

    Deterministic: the same windows give the same projection.
    """
    logs = signed_log(windows)
    scale = _typical_size(logs)
    rows = _moved_back(logs / scale).reshape(-1, windows.shape[1] * windows.shape[2])
    seen = rows.T @ rows / len(rows)
    prior = _prior(windows.shape[1], windows.shape[2])
    mixed = (1 - PRIOR_SHARE) * _unit_trace(seen) + PRIOR_SHARE * _unit_trace(prior)
    axes, _ = principal_axes(mixed, DIM)
    explained = float(np.trace(axes.T @ seen @ axes) / np.trace(seen))
    return LogProjection(windows.shape[1:], np.zeros(windows.shape[2]), scale, axes), explained


def _typical_size(logs: Matrix) -> Matrix:
    """Root mean square of each channel over the steps in which it is not 0; 1 for a silent channel."""
    active = np.maximum((logs != 0).sum(axis=(0, 1)), 1)
    size = np.sqrt((logs**2).sum(axis=(0, 1)) / active)
    return np.asarray(np.where(size > 0, size, 1.0), np.float64)


def _moved_back(windows: Matrix) -> Matrix:
    """The windows, and what each will be after 1, 2, ... steps of silence: activity at every place."""
    steps = windows.shape[1]
    moved = [windows]
    for shift in range(1, steps):
        later = np.zeros_like(windows)
        later[:, : steps - shift] = windows[:, shift:]
        moved.append(later)
    return np.concatenate(moved)


def _prior(steps: int, channels: int) -> Matrix:
    """Covariance of channels that are independent of each other and smooth in time (exponential kernel)."""
    distance = np.abs(np.subtract.outer(np.arange(steps), np.arange(steps)))
    return np.asarray(np.kron(np.exp(-distance / PRIOR_REACH_STEPS), np.eye(channels)), np.float64)


def _unit_trace(covariance: Matrix) -> Matrix:
    trace = np.trace(covariance)
    return covariance / trace if trace > 0 else covariance


def make(_options: argparse.Namespace) -> Made:
    """Read the sample, fit, check and measure."""
    files = sample_files()
    distinct = sample_hours(read_events(files)).values
    windows = distinct[:: -(-len(distinct) // MOST_WINDOWS)]
    progress(NAME, f"fitting to {len(windows)} windows")
    fitted, explained = fit(windows)
    model = fitted.to_onnx()
    measured = measure(fitted, model, windows)
    measured |= {"variance_explained": explained, "rows_fitted": len(windows)}
    progress(NAME, f"{explained:.4f} of the variance is kept")
    return Made(recipe(), {MODEL_FILE: model}, measured, tuple(file.name for file in files))


def recipe() -> Recipe:
    """The model's description."""
    schema_hash = windows_schema_hash(CHANNELS, STEPS, STEP_NS)
    return Recipe(
        name=NAME,
        version="1",
        input=InputSchema(kind="windows", hash=schema_hash, shape=(STEPS, len(CHANNELS))),
        dim=DIM,
        metric="l2",
        licence="Apache-2.0 (made by this project)",
        training_data="The project's own recorded traffic in samples/, without labels.",
    )


if __name__ == "__main__":
    run(make, parser(__doc__))
