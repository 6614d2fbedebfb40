"""Trains the temporal encoder on the hours of hosts, without labels.

Two windows of one host a few steps apart show the same behaviour, so their vectors shall be near; those of other
hosts, or of other times of the day, shall be apart: the contrastive loss NT-Xent of "A Simple Framework for
Contrastive Learning of Visual Representations" (Chen et al. 2020). What must not matter is changed at random before:
the overall rate and the rate of each channel and step, how much of the past is there, and how full the newest step
is yet.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from services.common.embedding.manifest import MODEL_FILE, InputSchema, windows_schema_hash
from services.common.errors import AppiaError
from services.common.events.windows import CHANNELS, STEP_NS, STEPS, THREAT
from services.training.extra import require
from services.training.measuring import measure_graph
from services.training.port import TrainedModel
from services.training.temporal_net import DIM, begin, describe, embed, learned, scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from services.training.port import HostWindowRows, LabelledRows, Report, TrainOptions
    from services.training.temporal_net import Encoder

NAME = "temporal"
VERSION = "2"
FEWEST_WINDOWS = 32
TEACHING_STEPS = 400
"""Batches; later ones change little."""
BATCH = 512
REACH = 3
"""Steps of time between two windows of one host that are said to be alike, at most."""
UNDECIDED = 16
"""Up to so many steps apart, two windows of one host are neither said to be alike nor to differ."""
TEMPERATURE = 0.1
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-3
TIMED_WINDOWS = 1024


@dataclass(frozen=True)
class Pairs:
    """m windows ordered by host, then step; those within `REACH` of each are a stretch of them."""

    rows: HostWindowRows
    first: NDArray[np.int64]  # (m,)
    last: NDArray[np.int64]  # (m,), inclusive
    chances: NDArray[np.float64]  # (m,), of being drawn

    @staticmethod
    def of(rows: HostWindowRows) -> Pairs:
        """Order windows and find what is near to each; a busy host is drawn often, but not in proportion."""
        order = np.lexsort((rows.steps, rows.hosts))
        rows = replace(rows, values=rows.values[order], hosts=rows.hosts[order], steps=rows.steps[order])
        _, numbers, counts = np.unique(rows.hosts, return_inverse=True, return_counts=True)
        steps = rows.steps - rows.steps.min()
        keys = numbers * (steps.max() + 2 * REACH + 2) + steps
        first = np.searchsorted(keys, keys - REACH, "left")
        last = np.searchsorted(keys, keys + REACH, "right") - 1
        chances = 1 / np.sqrt(counts[numbers])
        return Pairs(rows, first, last, chances / chances.sum())

    def draw(self, count: int, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of `count` windows, and for each that of another near it; the same one where it has none."""
        one = random.choice(len(self.rows), count, p=self.chances)
        others = self.last[one] - self.first[one]
        other = self.first[one] + random.integers(0, np.maximum(others, 1))
        other += other >= one  # never the window itself
        return one, np.where(others > 0, other, one)


def train_temporal(rows: LabelledRows, options: TrainOptions, report: Report) -> TrainedModel:
    """Train on the windows of `rows`; labels are not looked at. A `Trainer`.

    Raises:
        AppiaError: there are too few windows, or the extra `train` is not installed.
    """
    require("torch", "onnx")
    encoder, measured = teach(rows.windows, options, report)
    return as_model(
        encoder,
        rows.windows.values,
        measured,
        training_data=f"{len(rows.windows)} windows of a user's own days.",
    )


def as_model(
    encoder: Encoder, windows: NDArray[np.float32], measured: dict[str, float], *, training_data: str
) -> TrainedModel:
    """The encoder as a model, its graph compared with torch over `windows` (n, 64, 6), n >= 1.

    Raises:
        AppiaError: the graph does not do what torch does.
    """
    from services.training.temporal_graph import encoder_graph  # noqa: PLC0415 - imports onnx, of the extra

    graph = encoder_graph(encoder, (STEPS, len(CHANNELS)))
    rows = np.resize(windows, (TIMED_WINDOWS, *windows.shape[1:]))
    return TrainedModel(
        name=NAME,
        version=VERSION,
        files={MODEL_FILE: graph},
        input=InputSchema(
            kind="windows", hash=windows_schema_hash(CHANNELS, STEPS, STEP_NS), shape=(STEPS, len(CHANNELS))
        ),
        dim=DIM,
        metric="l2",
        training_data=training_data,
        measured=measured | measure_graph(graph, rows, embed(rows, encoder), "torch"),
    )


def teach(windows: HostWindowRows, options: TrainOptions, report: Report) -> tuple[Encoder, dict[str, float]]:
    """An encoder for windows, and figures: how many, how often, and the loss at the end.

    Raises:
        AppiaError: there are fewer than `FEWEST_WINDOWS`.
    """
    import torch  # noqa: PLC0415 - of the extra `train`

    if len(windows) < FEWEST_WINDOWS:
        raise AppiaError(
            f"The days have {len(windows)} different hours of hosts; a temporal model needs {FEWEST_WINDOWS} or more. "
            "Add days with --days."
        )
    torch.set_num_threads(options.threads)
    pairs = Pairs.of(windows)
    generator = torch.Generator().manual_seed(options.seed)
    with torch.no_grad():
        described = describe(torch.from_numpy(pairs.rows.values)).numpy()
    lessons = _Lessons(pairs, begin(described, generator), generator, options)
    last = (0, 0.0)
    for last in lessons.run():
        report("batch", last[0], TEACHING_STEPS)
    measured = {"windows": float(len(windows)), "batches": float(last[0]), "loss": last[1]}
    return lessons.encoder(), measured


class _Lessons:
    """The loop of training, and what changes in it."""

    def __init__(self, pairs: Pairs, start: Encoder, generator: Generator, options: TrainOptions) -> None:
        import torch  # noqa: PLC0415 - of the extra `train`

        self._pairs, self._start, self._generator = pairs, start, generator
        self._random = np.random.default_rng(options.seed)
        self._ends = time.monotonic() + options.seconds
        self._layers = [
            (torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy())) for weight, bias in start.layers
        ]
        parameters = [parameter.requires_grad_() for layer in self._layers for parameter in layer]
        self._optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def run(self) -> Iterator[tuple[int, float]]:
        """Train; after each batch give how many were done, and its loss."""
        for done in range(1, TEACHING_STEPS + 1):
            # A cosine to zero, so that the last batches settle what the first ones found.
            rate = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * (done - 1) / TEACHING_STEPS))
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            yield done, self._batch()
            if time.monotonic() > self._ends:
                return

    def encoder(self) -> Encoder:
        """The encoder as far as it has learned."""
        layers = tuple((weight.detach().numpy(), bias.detach().numpy()) for weight, bias in self._layers)
        return replace(self._start, layers=layers)

    def _batch(self) -> float:
        import torch  # noqa: PLC0415 - of the extra `train`

        one, other = self._pairs.draw(BATCH, self._random)
        likeness = self._vectors(one) @ self._vectors(other).T / TEMPERATURE
        likeness = likeness.masked_fill(self._undecided(one, other), -math.inf)
        target = torch.arange(BATCH)
        cross_entropy = torch.nn.functional.cross_entropy
        loss = (cross_entropy(likeness, target) + cross_entropy(likeness.T, target)) / 2
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def _vectors(self, numbers: NDArray[np.int64]) -> Tensor:
        import torch  # noqa: PLC0415 - of the extra `train`

        windows = vary(torch.from_numpy(self._pairs.rows.values[numbers]), self._generator)
        return learned(scaled(describe(windows), self._start), self._layers)

    def _undecided(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> Tensor:
        """Which pairs of a batch are no lesson, (b, b): too near in time to be said to differ."""
        import torch  # noqa: PLC0415 - of the extra `train`

        hosts, steps = self._pairs.rows.hosts, self._pairs.rows.steps
        near = np.abs(steps[one][:, None] - steps[other]) <= UNDECIDED
        near &= hosts[one][:, None] == hosts[other]
        np.fill_diagonal(near, val=False)
        return torch.from_numpy(near)


def vary(windows: Tensor, generator: Generator) -> Tensor:
    """Windows (n, 64, 6) with what must not matter changed at random; the threat is kept as it is."""
    import torch  # noqa: PLC0415 - of the extra `train`

    count, steps, channels = windows.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def chance(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    noise = (
        0.25 * normal(count, 1, 1) + 0.1 * normal(count, 1, channels) + 0.15 * normal(count, steps, channels)
    )
    factor = noise.exp()
    # The newest step may only have begun.
    begun = torch.where(chance(count) < 0.3, 0.3 + 0.7 * chance(count), torch.ones(count))
    factor[:, -1] *= begun[:, None]
    factor[:, :, THREAT] = 1
    # Of some windows the day or the capture began a while ago; of all, some steps are missing.
    known = torch.randint(2, steps, (count, 1), generator=generator)
    forgotten = (torch.arange(steps) < steps - known) & (chance(count, 1) < 0.3)
    forgotten |= chance(count, steps) < 0.1
    forgotten[:, -1] = False
    return (windows * factor).masked_fill(forgotten[:, :, None], 0.0)
