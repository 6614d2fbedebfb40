"""Trains the attack encoder on labelled events: those of one class shall be neighbours.

The loss is that of "Neighbourhood Components Analysis" (Goldberger, Roweis, Hinton, Salakhutdinov 2005) on unit
vectors: the chance that an event of the same class is picked, when the nearest are picked most. It asks for near
events of the same class and not for one place of a class, so that a class of many behaviours (ordinary traffic)
keeps them. Rare classes are drawn more often than they are.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from services.common.embedding.manifest import MODEL_FILE, InputSchema
from services.common.errors import AppiaError
from services.common.events.feature_list import SCHEMA_HASH
from services.training.attack_net import (
    COARSE,
    DIM,
    FINE,
    HIDDEN_DIM,
    KEPT,
    LEARNED_DIM,
    LIMIT,
    SHORTEST,
    WIDTH,
    AttackEncoder,
    Layers,
    Scaling,
    grid_of,
    signed_log,
)
from services.training.extra import require
from services.training.measuring import measure_graph
from services.training.port import TrainedModel
from services.training.scoring import Rows, Searches, Space, score
from services.training.split import split_by_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from services.training.attack_net import Matrix
    from services.training.port import LabelledRows, Report, TrainOptions

NAME = "attack"
VERSION = "2"
FEWEST_ROWS = 50
BATCH = 512
PASSES = 20
"""How often each event is drawn on average; on few or very many events the bounds below hold instead."""
FEWEST_BATCHES, MOST_BATCHES = 200, 1500
TEMPERATURE = 0.1
BALANCE = 0.5
"""An event is drawn with its class's size to the power of minus this: 0 as they are, 1 all classes alike."""
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-4
EARLIER, MOST_QUERIES = 0.6, 10_000
"""Share of each class from which the later rest is looked for when steps are chosen, and how many ask at most."""
FORGOTTEN = 0.05
NOISE = 0.05
"""Share of the numbers that are set to their mean, and deviation of what is added to the others."""
NEAR_A_BORDER = 1e-5
"""On the scale of log(1 + x): 32 bits hold it no closer."""
TIMED_ROWS = 1024


@dataclass(frozen=True)
class Plan:
    """What is decided before teaching.

    Attributes:
        coarseness: of the steps to which features are rounded, see `grid_of`.
        share: how much the features themselves count beside what is learned, see `Scaling`.
        passes: how often each event is drawn on average.
    """

    coarseness: float = COARSE
    share: float = KEPT
    passes: int = PASSES


def train_attack(rows: LabelledRows, options: TrainOptions, report: Report) -> TrainedModel:
    """Train on the features and labels of `rows`. A `Trainer`.

    Raises:
        AppiaError: there are too few events or only one class, or the extra `train` is not installed.
    """
    require("torch", "onnx")
    coarseness = _better_steps(rows, options, report)
    encoder, measured = teach(rows.features, rows.labels, options, report, Plan(coarseness))
    classes = len(np.unique(rows.labels))
    told = f"{len(rows)} events of {classes} classes of a user's own days, with their labels."
    return as_model(encoder, rows.features, measured, training_data=told)


def _better_steps(rows: LabelledRows, options: TrainOptions, report: Report) -> float:
    """Coarse steps or fine ones, whichever find the later events of each class better from the earlier ones.

    Rows that are too few to be split so are taught with coarse steps.
    """
    split = split_by_time(rows.labels, rows.time_ns, EARLIER)
    queries = np.flatnonzero(~split.base)
    queries = queries[:: max(len(queries) // MOST_QUERIES, 1)]
    classes, sizes = np.unique(rows.labels[split.base], return_counts=True)
    if _objection(classes, sizes) or not len(queries):
        return COARSE
    searches = Searches(Rows.of_one_day(rows.labels, rows.time_ns), split.base)
    found: dict[float, float] = {}
    for coarseness in (COARSE, FINE):
        report("choosing", len(found), 2)
        limited = replace(options, seconds=options.seconds / 4)
        values, labels = rows.features[split.base], rows.labels[split.base]
        encoder, _ = teach(values, labels, limited, _say_nothing, Plan(coarseness, passes=PASSES // 2))
        space = Space.of_rows("l2", encoder.embed(rows.features).astype(np.float32))
        scores = score(rows.labels, queries, searches.nearest(space, queries))
        found[coarseness] = scores.overall + scores.macro
    return max(found, key=lambda coarseness: found[coarseness])


def _say_nothing(_step: str, _done: int, _total: int) -> None:
    return


def as_model(
    encoder: AttackEncoder, values: NDArray[np.float32], measured: dict[str, float], *, training_data: str
) -> TrainedModel:
    """The encoder as a model, its graph compared with torch over `values` (n, WIDTH), n >= 1.

    Raises:
        AppiaError: the graph does not do what torch does.
    """
    from services.training.attack_graph import encoder_graph  # noqa: PLC0415 - imports onnx, of the extra

    graph = encoder_graph(encoder)
    rows = np.resize(_decided(values, encoder.scaling.grid), (TIMED_ROWS, WIDTH))
    return TrainedModel(
        name=NAME,
        version=VERSION,
        files={MODEL_FILE: graph},
        input=InputSchema(kind="features", hash=SCHEMA_HASH, shape=(WIDTH,)),
        dim=DIM,
        metric="l2",
        training_data=training_data,
        measured=measured | measure_graph(graph, rows, embed_with_torch(encoder, rows), "torch"),
    )


def _decided(values: NDArray[np.float32], grid: Matrix) -> NDArray[np.float32]:
    """Rows that no last digit of a logarithm rounds to another step; all rows where there is no such.

    Where a row is rounded up by torch and down by the runtime, both are right, and no digit of the graph is wrong.
    """
    steps = signed_log(values) / grid
    from_border = np.abs(np.abs(steps - np.rint(steps)) - 0.5)
    decided = values[(from_border * grid > NEAR_A_BORDER).all(axis=1)]
    return decided if len(decided) else values


def embed_with_torch(encoder: AttackEncoder, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors (n, DIM) of features (n, WIDTH) by torch alone, to compare the graph with."""
    import torch  # noqa: PLC0415 - of the extra `train`

    def tensor(array: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(array.astype(np.float32))

    with torch.no_grad():
        scaling = encoder.scaling
        given, grid = torch.from_numpy(values), tensor(scaling.grid)
        steps = torch.round(torch.sign(given) * torch.log1p(given.abs()) / grid) * grid
        scaled = ((steps - tensor(scaling.centre)) / tensor(scaling.scale)).clamp(-LIMIT, LIMIT)
        layers = encoder.layers
        weights = (layers.hidden, layers.hidden_bias, layers.output, layers.output_bias)
        learned = _learned(scaled, [tensor(weight) for weight in weights])
        native = torch.cat((learned, scaling.kept * scaled), dim=1)
        return np.asarray((native @ tensor(encoder.projection)).numpy(), np.float32)


def teach(
    values: NDArray[np.float32],
    labels: NDArray[np.str_],
    options: TrainOptions,
    report: Report,
    plan: Plan,
) -> tuple[AttackEncoder, dict[str, float]]:
    """An encoder for features (n, WIDTH) with their classes (n,), and figures: how many, how often, the loss.

    Raises:
        AppiaError: there are too few events, or only one class of at least two.
    """
    import torch  # noqa: PLC0415 - of the extra `train`

    classes, sizes = np.unique(labels, return_counts=True)
    objection = _objection(classes, sizes)
    if objection:
        raise AppiaError(objection)
    torch.set_num_threads(options.threads)
    scaling = Scaling.of(values, grid_of(plan.coarseness), plan.share)
    scaled = scaling.apply(values)
    lessons = _Lessons(scaled, labels, scaling.varies, options, plan.passes)
    last = (0, 0.0)
    for last in lessons.run():
        report("batch", last[0], lessons.batches)
    encoder = AttackEncoder.of(scaling, lessons.layers(), scaled)
    measured = {
        "events": float(len(values)),
        "classes": float(len(classes)),
        "coarseness_of_steps": plan.coarseness,
        "varying_columns": float(scaling.varies.sum()),
        "batches": float(last[0]),
        "loss": last[1],
    }
    return encoder, measured


def _objection(classes: NDArray[np.str_], sizes: NDArray[np.int64]) -> str:
    """Why events of such classes teach nothing, as a sentence; "" where they do."""
    if sizes.sum() < FEWEST_ROWS:
        return (
            f"There are {int(sizes.sum())} events to learn from; an attack model needs {FEWEST_ROWS} or more. "
            "Add days with --days."
        )
    if (sizes > 1).sum() < 2:
        return (
            f"The events to learn from are of one class ({str(classes[sizes.argmax()])[:80]!r}); an attack model "
            "learns from two classes or more of two events each. Feed labelled traffic, or add days with --days."
        )
    return ""


class _Lessons:
    """The loop of training, and what changes in it."""

    def __init__(
        self,
        scaled: Matrix,
        labels: NDArray[np.str_],
        varies: NDArray[np.bool_],
        options: TrainOptions,
        passes: int,
    ) -> None:
        import torch  # noqa: PLC0415 - of the extra `train`

        _, numbers, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        chances = sizes[numbers] ** -BALANCE
        self.batches = int(np.clip(passes * len(labels) // BATCH, FEWEST_BATCHES, MOST_BATCHES))
        self._cumulated = np.cumsum(chances / chances.sum())
        self._random = np.random.default_rng(options.seed)
        self._generator = torch.Generator().manual_seed(options.seed)
        self._scaled = torch.from_numpy(scaled.astype(np.float32))
        self._classes = torch.from_numpy(numbers.astype(np.int64))
        self._seconds = options.seconds
        self._weights = _begin(varies, self._generator)
        self._varies = torch.from_numpy(varies.astype(np.float32))
        self._optimizer = torch.optim.AdamW(self._weights, LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def run(self) -> Iterator[tuple[int, float]]:
        """Train; after each batch give how many were done, and its loss."""
        ends = time.monotonic() + self._seconds
        for done in range(1, self.batches + 1):
            # A short rise, so that the first batches upset nothing, and a cosine to zero, so that the last settle.
            share = done / self.batches
            rate = min(share / 0.2, 1.0) * 0.5 * (1 + math.cos(math.pi * share))
            for group in self._optimizer.param_groups:
                group["lr"] = LEARNING_RATE * rate
            yield done, self._batch()
            if time.monotonic() > ends:
                return

    def layers(self) -> Layers:
        """The weights as far as they have learned."""
        return Layers(*(weight.detach().numpy().astype(np.float64) for weight in self._weights))

    def _batch(self) -> float:
        import torch  # noqa: PLC0415 - of the extra `train`

        drawn = np.searchsorted(self._cumulated, self._random.random(BATCH)).clip(max=len(self._scaled) - 1)
        chosen = torch.from_numpy(drawn)
        loss = neighbour_loss(
            _learned(self._vary(self._scaled[chosen]), self._weights), self._classes[chosen]
        )
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def _vary(self, scaled: Tensor) -> Tensor:
        """With some numbers forgotten, as of a sensor that does not tell them, and the others moved a little."""
        import torch  # noqa: PLC0415 - of the extra `train`

        known = torch.rand(scaled.shape, generator=self._generator) > FORGOTTEN
        noise = NOISE * torch.randn(scaled.shape, generator=self._generator)
        return scaled * known + noise * self._varies


def neighbour_loss(vectors: Tensor, classes: Tensor) -> Tensor:
    """Minus the logarithm of the chance to pick an event of the same class, mean over those that have one.

    Args:
        vectors: of length 1, float32 (b, d).
        classes: int64 (b,).
    """
    import torch  # noqa: PLC0415 - of the extra `train`

    likeness = vectors @ vectors.T / TEMPERATURE
    likeness = likeness.masked_fill(torch.eye(len(vectors), dtype=torch.bool), -math.inf)
    same = classes[:, None] == classes
    same.fill_diagonal_(False)  # noqa: FBT003 - torch takes it by place only
    taught = same.any(dim=1)
    right = torch.logsumexp(likeness[taught].masked_fill(~same[taught], -math.inf), dim=1)
    return (torch.logsumexp(likeness[taught], dim=1) - right).mean()


def _begin(varies: NDArray[np.bool_], generator: Generator) -> list[Tensor]:
    """Random weights to begin with; those of columns that never vary are 0 and stay so: nothing teaches them."""
    import torch  # noqa: PLC0415 - of the extra `train`

    def normal(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator) / math.sqrt(rows)

    hidden = normal(WIDTH, HIDDEN_DIM) * torch.from_numpy(varies.astype(np.float32))[:, None]
    layers = [hidden, torch.zeros(HIDDEN_DIM), normal(HIDDEN_DIM, LEARNED_DIM), torch.zeros(LEARNED_DIM)]
    return [layer.requires_grad_() for layer in layers]


def _learned(scaled: Tensor, weights: list[Tensor]) -> Tensor:
    """Vectors of length 1 (n, LEARNED_DIM) of scaled features (n, WIDTH)."""
    import torch  # noqa: PLC0415 - of the extra `train`

    hidden, hidden_bias, output, output_bias = weights
    outer = torch.relu(scaled @ hidden + hidden_bias) @ output + output_bias
    return outer / outer.norm(dim=1, keepdim=True).clamp(min=SHORTEST)
