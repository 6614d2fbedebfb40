"""Trains a model on the first part of one's own days, and compares it with the one in use on the rest."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.common.embedding.building import USER_SCRIPT
from services.common.embedding.manifest import windows_schema_hash
from services.common.embedding.onnx import OnnxArrays, OnnxSettings
from services.common.embedding.store import LoadedModel
from services.common.errors import AppiaError, UsageError
from services.common.events.features import SCHEMA_HASH
from services.common.events.windows import CHANNELS, STEP_NS, STEPS
from services.training.baselines import baselines
from services.training.days_data import choose_rows, read_labelled
from services.training.evaluate import Exam
from services.training.extra import require
from services.training.installing import install, made_by, manifest_of
from services.training.judged import Judged
from services.training.port import TrainOptions
from services.training.scoring import Space
from services.training.split import split_by_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.common.days.sealed_reader import SealedReader
    from services.common.embedding.manifest import Manifest
    from services.common.embedding.store import ModelStore
    from services.training.evaluate import Line
    from services.training.judged import Verdicts
    from services.training.port import LabelledRows, Report, TrainedModel, Trainer

TRAINABLE = ("attack", "temporal")
CURRENT, NEW = "current", "new"
_LICENCE = "made from the days of whoever trained it"


@dataclass(frozen=True)
class TrainPlan:
    """What to train and on how much.

    Attributes:
        name: the model's, one of `TRAINABLE`.
        trainer: makes it, see `trainer_of`.
        options: for the trainer.
        holdout: the last share of each class, which the trainer does not see.
        events: at most so many are looked at.
        force: install also what is worse.
        verdicts: of analysts, by event id: they win over labels.
    """

    name: str
    trainer: Trainer
    options: TrainOptions = field(default_factory=TrainOptions)
    holdout: float = 0.4
    events: int = 100_000
    force: bool = False
    verdicts: Verdicts = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How the new model did beside the current one and the baselines, and whether it is in use now."""

    manifest: Manifest
    days: tuple[str, ...]
    trained_on: int
    queries: dict[str, int]
    lines: tuple[Line, ...]
    is_better: bool  # at least as good as the current one
    installed: bool
    judged: Judged = field(default_factory=Judged)  # whose class analysts had a say in

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "model": self.manifest.model_id,
            "days": list(self.days),
            "trained_on": self.trained_on,
            "queries": self.queries,
            "feedback": self.judged.to_json(),
            "rows": [line.to_json() for line in self.lines],
            "measured": self.manifest.measured,
            "better": self.is_better,
            "installed": self.installed,
        }


def train(readers: Sequence[SealedReader], store: ModelStore, plan: TrainPlan, report: Report) -> Outcome:
    """Train, score, and make the new model the active one unless it is worse. Blocks for minutes.

    Worse is a lower same-class precision@5 than that of the active model, overall or as the mean over classes.

    Raises:
        UsageError: the share that is held out is none.
        AppiaError: packages are missing, or the days cannot teach such a model.
    """
    if not 0.0 < plan.holdout < 1.0:
        raise UsageError(f"--holdout is a share between 0 and 1, not {plan.holdout:g}")
    report("reading", 0, 1)
    chosen = choose_rows(readers, plan.events, plan.verdicts)
    split = split_by_time(chosen.rows.labels, chosen.rows.time_ns, 1.0 - plan.holdout)
    exam = Exam(chosen, split)
    rows = read_labelled(readers, chosen)
    trained = plan.trainer(rows.take(split.base), plan.options, report)
    manifest = _manifest(trained, plan, chosen.days)
    report("scoring", 0, 1)
    lines = _compare(exam, rows, LoadedModel(manifest, trained.files), _current(store, plan.name))
    is_better = _is_no_worse(lines)
    if is_better or plan.force:
        install(store, manifest, trained.files)
    trained_on = int(split.base.sum())
    installed = is_better or plan.force
    counts = exam.counts()
    return Outcome(
        manifest, chosen.days, trained_on, counts, tuple(lines), is_better, installed, chosen.judged
    )


def trainer_of(name: str) -> Trainer:
    """The trainer of a model.

    Raises:
        UsageError: no such model can be trained.
        AppiaError: the extra `train` is not installed.
    """
    if name not in TRAINABLE:
        raise UsageError(f"{name[:80]!r} cannot be trained; what can: {', '.join(TRAINABLE)}")
    require("torch", "onnx")
    if name == "attack":
        from services.training.attack import train_attack  # noqa: PLC0415 - imports much

        return train_attack
    from services.training.temporal import train_temporal  # noqa: PLC0415 - imports much

    return train_temporal


def embedded(model: LoadedModel, rows: LabelledRows) -> Space:
    """The vectors of some events by a model of features or windows.

    Raises:
        AppiaError: the model is for other inputs than those of this program.
    """
    if model.manifest.input.kind == "features":
        features = OnnxArrays(model, "features", SCHEMA_HASH, OnnxSettings())
        return Space.of_rows(features.metric, features.embed(rows.features))
    schema = windows_schema_hash(CHANNELS, STEPS, STEP_NS)
    windows = OnnxArrays(model, "windows", schema, OnnxSettings())
    return Space(windows.metric, windows.embed(rows.windows.values), rows.window_of)


def _current(store: ModelStore, name: str) -> LoadedModel | None:
    """The active model; None where there is none yet. A damaged one is an error."""
    if not (store.root / name / "ACTIVE").exists():
        return None
    return store.load(name)


def _compare(exam: Exam, rows: LabelledRows, new: LoadedModel, current: LoadedModel | None) -> list[Line]:
    lines = [exam.take(name, space) for name, space in baselines(rows.features, exam.split.base).items()]
    if current is not None:
        lines.append(exam.take(CURRENT, embedded(current, rows), current.manifest.model_id))
    lines.append(exam.take(NEW, embedded(new, rows), new.manifest.model_id))
    return lines


def _is_no_worse(lines: Sequence[Line]) -> bool:
    found = {line.name: line.scores for line in lines}
    current, new = found.get(CURRENT), found[NEW]
    return current is None or (new.overall >= current.overall and new.macro >= current.macro)


def _manifest(trained: TrainedModel, plan: TrainPlan, days: Sequence[str]) -> Manifest:
    options = plan.options
    arguments = (
        plan.name,
        "--days",
        ",".join(days),
        "--holdout",
        f"{plan.holdout:g}",
        "--seed",
        str(options.seed),
    )
    return manifest_of(trained, made_by(USER_SCRIPT, arguments), dt.datetime.now(dt.UTC), licence=_LICENCE)


def check_answer(outcome: Outcome) -> None:
    """End a command whose model was not taken into use.

    Raises:
        AppiaError: the new model is worse, and not installed.
    """
    if not outcome.installed:
        raise AppiaError(
            f"The new {outcome.manifest.name} model is worse than the one in use and was not installed; --force "
            "installs it"
        )
