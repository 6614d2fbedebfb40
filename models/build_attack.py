"""Makes the attack model: the encoder of `services/training/attack.py`, taught by the recorded traffic in `samples/`.

Run from the project's root, with the extra `train`: `python -m models.build_attack --store FOLDER`. The labels are
those that the recorder gave: what the project itself did when it recorded. The same checkout gives the same model on
one machine; on another, sums in another order give weights that differ in the last digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.making import Made, made_of, parser, progress, run
from models.sample import read_events, sample_files
from services.common.events.features import extract
from services.feed.readers.port import LabelMode
from services.training.attack import NAME, Plan, as_model, teach
from services.training.extra import require
from services.training.port import TrainOptions

if TYPE_CHECKING:
    import argparse

SEED = 1
KEPT = 0.6
"""Twice that of a user's model: it meets traffic unlike what taught it, which the features order better."""
TRAINING_DATA = "The project's own recorded traffic in samples/, with the labels of its recorder."


def make(_options: argparse.Namespace) -> Made:
    """Read the sample, teach, check and measure. Raises AppiaError without the extra `train`."""
    require("torch", "onnx")
    files = sample_files()
    events = read_events(files, LabelMode.METADATA)
    values = extract([event.SerializeToString(deterministic=True) for event in events]).values
    labels = np.array([event.custom_metadata["label"] for event in events])
    progress(NAME, f"learning from {len(events)} flows of {len(np.unique(labels))} classes")
    encoder, measured = teach(
        values, labels, TrainOptions(seed=SEED, seconds=600.0, threads=1), _report, Plan(share=KEPT)
    )
    model = as_model(encoder, values, measured, training_data=TRAINING_DATA)
    return made_of(model, tuple(file.name for file in files))


def _report(step: str, done: int, total: int) -> None:
    if done % 100 == 0:
        progress(NAME, f"{step} {done} of {total}")


if __name__ == "__main__":
    run(make, parser(__doc__))
