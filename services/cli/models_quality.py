"""`appia models evaluate` and `appia models train`: how well events find their like, and models of one's own days."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - typer reads it when a command is made
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import JsonOption, StateOption, grouped, required_state
from services.cli.output import counted, print_json, print_lines, print_table
from services.cli.storage_key import StorageKeyOption, log_keys
from services.cli.store_folder import ModelsOption, model_store_folder
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.training.evaluate import Evaluation, Line
    from services.training.judged import Judged
    from services.training.port import Report
    from services.training.train import Outcome

DaysOption = Annotated[
    str | None,
    typer.Option(
        "--days",
        metavar="DAY,DAY",
        help="Sealed days to look at, with commas between them.",
        show_default="all that are sealed",
    ),
]
EventsOption = Annotated[
    int,
    typer.Option("--events", min=10, help="Look at so many events at most, of rare classes at all of them."),
]
MOST_EVENTS = 100_000


def add_to(models: typer.Typer) -> None:
    """Add the commands."""
    evaluated = "Example: appia models evaluate --state ~/appia --confusion"
    models.command("evaluate", epilog=evaluated)(grouped(evaluate))
    trained = "Example: appia models train attack --days 2026-01-20,2026-01-21 --state ~/appia"
    models.command("train", epilog=trained)(grouped(train))


@dataclass(frozen=True)
class EvaluateOptions:
    """What `appia models evaluate` is asked for."""

    days: DaysOption = None
    index: Annotated[
        list[str] | None,
        typer.Option(
            "--index", help="attack, semantic, temporal or fused; may be given again.", show_default="all"
        ),
    ] = None
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines", help="Also score what needs no training, on the same split. Default: off."
        ),
    ] = False
    confusion: Annotated[
        bool,
        typer.Option("--confusion", help="Also say of which classes the neighbours are. Default: off."),
    ] = False
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write a picture of each index there, INDEX.png, points coloured by class.",
            show_default="none",
        ),
    ] = None
    events: EventsOption = MOST_EVENTS
    storage_key: StorageKeyOption = None


def evaluate(*, options: EvaluateOptions, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Measure how often the five nearest events are of the same class.

    The first 60 % of each class by time are searched, the rest is asked about. A class is the event's own label
    (`custom_metadata.label`), or its final classification where it has none; what analysts called a false positive is
    benign. Reads sealed days, whether the stack runs or not, and changes nothing.
    """
    from services.common.days.names import StateNames  # noqa: PLC0415 - `appia --help` starts quicker without it
    from services.common.feedback.follower import read_feedback  # noqa: PLC0415 - as above
    from services.training.days_data import sealed_days  # noqa: PLC0415 - as above
    from services.training.evaluate import Question, evaluate  # noqa: PLC0415 - as above
    from services.training.plots import check_plotting  # noqa: PLC0415 - as above

    names = StateNames(required_state(state))
    verdicts = read_feedback(names, log_keys(options.storage_key, names)).verdicts
    question = Question(_indices(options.index), options.baselines, events=options.events, verdicts=verdicts)
    if options.plots is not None:
        check_plotting()
    with sealed_days(names, _days(options.days)) as readers, _shown() as report:
        found = evaluate(readers, question, report)
    plots = [] if options.plots is None else _draw(found, options.plots)
    if as_json:
        print_json({**found.to_json(), "plots": [path.name for path in plots]})
        return
    _print_evaluation(found)
    if options.confusion:
        from services.training.tables import confusion_table  # noqa: PLC0415 - as above

        for line in found.lines:
            print_lines("", f"### {line.name}", "", *confusion_table(line.confusion))
    print_lines(*(f"Drawn: {path}" for path in plots))


def _indices(given: list[str] | None) -> tuple[str, ...]:
    from services.common.days.names import EVENT_INDICES  # noqa: PLC0415 - as above
    from services.training.evaluate import FUSED  # noqa: PLC0415 - as above

    known = (*EVENT_INDICES, FUSED)
    unknown = sorted(set(given or ()) - set(known))
    if unknown:
        raise UsageError(f"there is no index {unknown[0][:80]!r} to evaluate; there are: {', '.join(known)}")
    return tuple(index for index in known if not given or index in given)


def _days(given: str | None) -> list[str] | None:
    from services.common.days.names import parse_day  # noqa: PLC0415 - as above

    if given is None:
        return None
    return [parse_day(day.strip()) for day in given.split(",") if day.strip()] or _no_day(given)


def _no_day(given: str) -> list[str]:
    raise UsageError(f"--days {given!r} names no day; write for example --days 2026-01-20,2026-01-21")


@contextlib.contextmanager
def _shown() -> Iterator[Report]:
    """A function that shows progress: on standard error, and only on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _step, _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody looks
    from rich.progress import Progress  # noqa: PLC0415 - as above

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda step, done, total: bar.update(task, description=step, completed=done, total=total)


def _draw(found: Evaluation, folder: Path) -> list[Path]:
    from services.training.plots import draw  # noqa: PLC0415 - as above

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for line in found.lines:
        if line.name in found.spaces:
            path = folder / f"{line.name}.png"
            draw(path, f"{line.name} ({line.model})", found.spaces[line.name], found.exam.chosen.rows)
            paths.append(path)
    return paths


def _print_evaluation(found: Evaluation) -> None:
    chosen, split = found.exam.chosen, found.exam.split
    print_lines(
        f"{counted(len(chosen), 'event')} of {len(chosen.totals)} classes on {counted(len(chosen.days), 'day')}: "
        f"{int(split.base.sum()):,} searched, {int(split.queries.sum()):,} asked about. Same-class precision of the "
        "five nearest:"
    )
    if chosen.unlabelled:
        print_lines(f"{counted(chosen.unlabelled, 'event')} without a class: left out.")
    _print_judged(chosen.judged)
    _print_lines(found.lines, found.exam.counts())


def _print_judged(judged: Judged) -> None:
    if judged:
        disputed = f" Analysts disagree about {judged.disputed:,} of them." if judged.disputed else ""
        print_lines(
            f"Feedback: {counted(judged.benign, 'false positive')} taken as benign, "
            f"{counted(judged.confirmed, 'true positive')} confirmed, {judged.left_out:,} left out because labelled "
            f"benign.{disputed}"
        )


def _print_lines(lines: Sequence[Line], counts: dict[str, int]) -> None:
    """Overall and macro for each representation, then each class."""
    heads = [line.name for line in lines]
    rows: list[list[object]] = [
        ["overall", f"{sum(counts.values()):,}", *(f"{line.scores.overall:.3f}" for line in lines)],
        ["mean over classes", "", *(f"{line.scores.macro:.3f}" for line in lines)],
    ]
    for name, count in counts.items():
        rows.append([name, f"{count:,}", *(f"{line.scores.classes[name]:.3f}" for line in lines)])
    print_table(["", ">asked", *(f">{head}" for head in heads)], rows)
    print_lines(*(f"{line.name}: {line.model}" for line in lines if line.model))


@dataclass(frozen=True)
class TrainChoices:
    """What `appia models train` is asked for."""

    days: DaysOption = None
    holdout: Annotated[
        float,
        typer.Option(
            "--holdout", help="Share of each class, the last by time, that is kept for the comparison."
        ),
    ] = 0.4
    seed: Annotated[int, typer.Option("--seed", help="The same days and seed give the same model.")] = 1
    seconds: Annotated[
        float, typer.Option("--seconds", min=1.0, help="End training after so long at the latest.")
    ] = 120.0
    threads: Annotated[int, typer.Option("--threads", min=1, help="Processors to train on.")] = 2
    events: EventsOption = MOST_EVENTS
    storage_key: StorageKeyOption = None
    force: Annotated[
        bool, typer.Option("--force", help="Use the new model also if it is worse. Default: off.")
    ] = False


def train(
    *,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="attack or temporal. No default.")],
    options: TrainChoices,
    state: StateOption = None,
    models: ModelsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model on your own sealed days.

    It is used from then on if it is not worse. It learns from the first part of each class by time. On the rest it is
    compared with the model in use: how often the five nearest events are of the same class. A worse one, overall or as
    the mean over classes, is not used, and the exit status is 1. Needs the extra `train`. Nothing leaves this machine.
    """
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above
    from services.common.embedding.store import ModelStore  # noqa: PLC0415 - as above
    from services.common.feedback.follower import read_feedback  # noqa: PLC0415 - as above
    from services.training.days_data import sealed_days  # noqa: PLC0415 - as above
    from services.training.port import TrainOptions  # noqa: PLC0415 - as above
    from services.training.train import TrainPlan, check_answer, train, trainer_of  # noqa: PLC0415 - as above

    names = StateNames(required_state(state))
    store = ModelStore(model_store_folder(models, os.environ))
    how = TrainOptions(options.seed, options.seconds, options.threads)
    verdicts = read_feedback(names, log_keys(options.storage_key, names)).verdicts
    plan = TrainPlan(model, trainer_of(model), how, options.holdout, options.events, options.force, verdicts)
    with sealed_days(names, _days(options.days)) as readers, _shown() as report:
        outcome = train(readers, store, plan, report)
    if as_json:
        print_json({**outcome.to_json(), "store": str(store.root)})
    else:
        _print_outcome(outcome)
    check_answer(outcome)


def _print_outcome(outcome: Outcome) -> None:
    print_lines(
        f"Trained on {counted(outcome.trained_on, 'event')} of {counted(len(outcome.days), 'day')}, compared on the "
        f"{counted(sum(outcome.queries.values()), 'event')} that came later. Same-class precision of the five nearest:"
    )
    _print_judged(outcome.judged)
    _print_lines(outcome.lines, outcome.queries)
    if outcome.installed:
        verdict = "" if outcome.is_better else ", though it is worse"
        print_lines(
            f"{outcome.manifest.model_id} is in use from the next `appia up` on{verdict}; `appia reindex --index "
            f"{outcome.manifest.name}` embeds the days sealed before with it."
        )
