"""How often the five nearest events are of the same class: same-class precision@5, by index, fused, and baselines.

Base: the first 60 % of each class by time. Queries: the rest. Each data set goes through a real stack with its labels
in `custom_metadata` only (`appia feed --labels metadata`), so that no index sees them, and is sealed. It is evaluated
with the shipped models; then `attack` and `temporal` are trained on the base by `appia models train`, the days are
embedded anew by `appia reindex`, and it is evaluated again. Every step is the command that a user has.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import SAMPLE, WEEK, BenchError, Report, options, traffic_file
from benchmarks.stack import Feeding, appia, client_of, endpoints, open_days, running_stack, wait_visible
from services.cli.store_folder import model_store_folder
from services.training.tables import confusion_table, table
from services.training.train import TRAINABLE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

ZEEK = WEEK.parents[1] / "zeek-ctu"
SHIPPED, TRAINED = "shipped", "trained"
FUSED = "fused"
TARGETS = {("attack", TRAINED): (0.968, 0.955), (FUSED, TRAINED): (0.985, 0.965)}
"""Overall and macro to reach on the week of CICIDS2017."""
TRAINING_S = 900
"""So long that no training ends by it: what ends by the clock cannot be repeated."""
PICTURES = "plots"


@dataclass(frozen=True)
class DataSet:
    """A file of labelled traffic."""

    name: str
    file: Path
    form: str


SETS = (
    DataSet("cicids2017", WEEK, "cicflowmeter"),
    DataSet("zeek-ctu-008", ZEEK / "008-conn.log.labeled.gz", "zeek-conn"),
    DataSet("zeek-ctu-011", ZEEK / "011-conn.log.labeled.gz", "zeek-conn"),
    DataSet("office-day", SAMPLE, "cicflowmeter"),
)

# What the table shows: name of the representation, with which models, and what it was made from.
ROWS = (
    ("random projection", SHIPPED, "nothing"),
    ("z-score", SHIPPED, "the base, without labels"),
    ("z-score, PCA 64", SHIPPED, "the base, without labels"),
    ("attack", TRAINED, "the base, with labels"),
    ("attack", SHIPPED, "the project's own recordings"),
    ("semantic", SHIPPED, "English text; not of this project's making"),
    ("temporal", TRAINED, "the base, without labels"),
    ("temporal", SHIPPED, "the project's own recordings, made-up hours"),
    (FUSED, TRAINED, "attack and temporal trained on the base"),
    (FUSED, SHIPPED, "shipped models only"),
)


@dataclass(frozen=True)
class Found:
    """What came of one data set: evaluations by the models used, and what training said by model."""

    data: DataSet
    evaluations: dict[str, dict[str, Any]]
    trainings: dict[str, dict[str, Any]]
    pictures: Path  # where those of the trained models lie, where they were asked for

    def row(self, name: str, models: str) -> dict[str, Any]:
        """One representation's figures."""
        rows: list[dict[str, Any]] = self.evaluations[models]["rows"]
        return next(row for row in rows if row["name"] == name)


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = options("quality", __doc__ or "", 0)
    parser.set_defaults(events=None)
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of {', '.join(one.name for one in SETS)}")
    parser.add_argument("--seed", type=int, default=1, help="of training")
    parser.add_argument("--docs", type=Path, metavar="DIR", help="write confusion.md and plots/ there")
    given = parser.parse_args(argv)
    report = Report("quality", {"events": given.events or "all", "seed": given.seed})
    found = [_measure(report, given, data) for data in _data_sets(given)]
    report.add_table("Same-class precision@5, overall / mean over classes", _compared(found))
    for one in found:
        report.add_table(f"{one.data.name} by class", _by_class(one))
    if given.docs is not None:
        _document(given.docs, found)
    report.write(given.out)


def _data_sets(given: argparse.Namespace) -> list[DataSet]:
    """Those that were asked for and are there.

    Raises:
        BenchError: none is.
    """
    if given.input is not None:
        source = traffic_file(given.input)
        return [DataSet(source.name.partition(".")[0], source, "cicflowmeter")]
    unknown = sorted(set(given.only or ()) - {one.name for one in SETS})
    if unknown:
        raise BenchError(
            f"there is no data set {unknown[0]}; there are: {', '.join(one.name for one in SETS)}"
        )
    wanted = [one for one in SETS if not given.only or one.name in given.only]
    there = [one for one in wanted if one.file.is_file()]
    for one in wanted:
        if one not in there:
            print(f"  {one.name} is left out: {one.file.name} is not there", flush=True)
    if not there:
        raise BenchError("none of the data sets is there")
    return there


def _measure(report: Report, given: argparse.Namespace, data: DataSet) -> Found:
    """Feed, seal, evaluate; train, embed anew, evaluate again."""
    state, models = given.work / f"quality-{data.name}", given.work / f"quality-{data.name}-models"
    shutil.rmtree(state, ignore_errors=True)
    _shipped_models(models)
    where = ("--state", str(state))
    limit = () if given.events is None else ("--limit", str(given.events))
    pictures = given.work / PICTURES / data.name
    drawing = () if given.docs is None else ("--plots", str(pictures))
    with running_stack(state, models=models) as running, client_of(endpoints(running)) as client:
        fed = Feeding(state, data.file, "--labels", "metadata", *limit, form=data.form).result()
        wait_visible(client, fed.stored)
        for day in open_days(client):
            appia("seal", day, *where)
        shipped = appia("models", "evaluate", *where, "--baselines")
        trainings = {}
        for model in TRAINABLE:
            begin = time.monotonic()
            words = (
                "--seed",
                str(given.seed),
                "--seconds",
                str(TRAINING_S),
                "--force",
                "--models",
                str(models),
                *where,
            )
            said = appia("models", "train", model, *words)
            # Where the store lay is of no use to a reader.
            trainings[model] = {key: value for key, value in said.items() if key != "store"}
            trainings[model]["seconds"] = round(time.monotonic() - begin, 1)
            appia("reindex", "--index", model, "--yes", "--models", str(models), *where)
        trained = appia("models", "evaluate", *where, *drawing)
    found = Found(data, {SHIPPED: shipped, TRAINED: trained}, trainings, pictures)
    _tell(report, found)
    return found


def _shipped_models(folder: Path) -> None:
    """A model store with what this checkout ships, whatever the user has trained; the semantic model is copied."""
    shutil.rmtree(folder, ignore_errors=True)
    given = os.environ.get("APPIA_MODELS")
    own = model_store_folder(None if given is None else Path(given), os.environ)
    if (own / "semantic").is_dir():
        shutil.copytree(own / "semantic", folder / "semantic")
    appia("models", "build", "--models", str(folder))


def _tell(report: Report, found: Found) -> None:
    """The figures, and in words what was asked and what was reached."""
    shipped, name = found.evaluations[SHIPPED], found.data.name
    report.add(
        name,
        {"evaluations": found.evaluations, "trainings": found.trainings},
        f"{name}: {shipped['events']:,} events of {len(shipped['classes'])} classes, {shipped['base']:,} as base, "
        f"all {sum(shipped['queries'].values()):,} others asked about",
    )
    for model, said in found.trainings.items():
        verdict = "would come into use by itself" if said["better"] else "would not come into use by itself"
        report.note(f"{name}: {model} trained in {said['seconds']:g} s; {verdict}")
    if found.data.file != WEEK:
        return
    for (index, models), (overall, macro) in TARGETS.items():
        row = found.row(index, models)
        reached = row["overall"] >= overall and row["macro"] >= macro
        report.note(
            f"{name}: {index} to reach {overall} / {macro}: {'reached' if reached else 'not reached'} with "
            f"{row['overall']:.4f} / {row['macro']:.4f}; weakest: {_weakest(row)}"
        )


def _weakest(row: dict[str, Any]) -> str:
    classes: dict[str, float] = row["classes"]
    worst = sorted(classes.items(), key=lambda pair: pair[1])[:4]
    return ", ".join(f"{name} {precision:.2f}" for name, precision in worst)


def _compared(found: Sequence[Found]) -> Iterator[str]:
    """A row for each representation, a column for each data set."""
    rows = []
    for name, models, source in ROWS:
        shown = f"{name} ({models})" if name in {*TRAINABLE, FUSED} else name
        figures = [one.row(name, models) for one in found]
        rows.append([shown, source, *(f"{row['overall']:.4f} / {row['macro']:.4f}" for row in figures)])
    yield from table(["representation", "made from", *(one.data.name for one in found)], rows)


def _by_class(found: Found) -> Iterator[str]:
    """A row for each class, a column for each representation."""
    shown = [(name, models, found.row(name, models)) for name, models, _ in ROWS]
    queries: dict[str, int] = found.evaluations[SHIPPED]["queries"]
    rows = [
        [name, f"{count:,}", *(f"{row['classes'][name]:.3f}" for _, _, row in shown)]
        for name, count in queries.items()
    ]
    columns = [f"{name} ({models})" if name in {*TRAINABLE, FUSED} else name for name, models, _ in shown]
    yield from table(["class", "asked", *columns], rows)


def _document(folder: Path, found: Sequence[Found]) -> None:
    """Write `confusion.md` and the pictures of every index for the documentation."""
    text = [
        "# Neighbours by class",
        "",
        "Written by `python benchmarks/bench_quality.py --docs docs`; [quality.md](quality.md) says what it means.",
        "`attack` and `temporal` are those trained on the base of the same data set.",
    ]
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    for one in found:
        text += ["", f"## {one.data.name}"]
        evaluation = one.evaluations[TRAINED]
        for row in evaluation["rows"]:
            text += ["", f"### {row['name']} on {one.data.name}", ""]
            picture = f"{row['name']}.png"
            if picture in evaluation["plots"]:
                kept = f"{one.data.name}-{picture}"
                shutil.copy(one.pictures / picture, folder / PICTURES / kept)
                text += [f"![{row['name']} on {one.data.name}]({PICTURES}/{kept})", ""]
            text += confusion_table(row["confusion"])
    (folder / "confusion.md").write_text("\n".join(text) + "\n", "utf-8")


if __name__ == "__main__":
    try:
        main()
    except BenchError as failed:
        sys.exit(f"bench_quality: {failed}")
