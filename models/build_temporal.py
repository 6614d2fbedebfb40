"""Makes the temporal model: the encoder of `services/training/temporal.py`, taught by made-up hours and the sample.

Run from the project's root, with the extra `train`: `python -m models.build_temporal --store FOLDER`. The recorded
traffic in `samples/` lasts minutes, so most hours are made up (`synthetic_hours.py`); no label is looked at. The same
checkout gives the same model on one machine; on another, sums in another order give weights that differ in the last
digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.making import Made, made_of, parser, progress, run
from models.sample import read_events, sample_files
from models.sample_hours import sample_hours
from models.synthetic_hours import HostMaker
from services.training.extra import require
from services.training.port import HostWindowRows, TrainOptions
from services.training.temporal import as_model, teach

if TYPE_CHECKING:
    import argparse

SEED = 11
HOSTS, FOR_EACH = 600, 40
TRAINING_DATA = (
    "Hours of hosts made up by models/synthetic_hours.py, and the project's own recorded traffic in samples/; "
    "without labels."
)


def make(_options: argparse.Namespace) -> Made:
    """Read the sample, make up hours, teach, check and measure. Raises AppiaError without the extra `train`."""
    require("torch", "onnx")
    files = sample_files()
    made_up = HostMaker(np.random.default_rng(SEED)).windows(HOSTS, FOR_EACH).rows
    windows = together(made_up, sample_hours(read_events(files)))
    progress("temporal", f"learning from {len(windows)} windows")
    encoder, measured = teach(windows, TrainOptions(seed=SEED, seconds=600.0, threads=1), _report)
    model = as_model(encoder, windows.values, measured, training_data=TRAINING_DATA)
    return made_of(model, tuple(file.name for file in files))


def together(one: HostWindowRows, other: HostWindowRows) -> HostWindowRows:
    """The windows of both, whose hosts are not the same ones."""
    apart = int(one.hosts.max()) + 1 - int(other.hosts.min())
    return HostWindowRows(
        np.concatenate((one.values, other.values)),
        np.concatenate((one.hosts, other.hosts + apart)),
        np.concatenate((one.steps, other.steps)),
    )


def _report(step: str, done: int, total: int) -> None:
    if done % 100 == 0:
        progress("temporal", f"{step} {done} of {total}")


if __name__ == "__main__":
    run(make, parser(__doc__))
