"""`appia reindex`: gives sealed days the vectors of the models that are active now, and takes them back."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import offers
from services.cli.jobs import call, finish, ingester_of, step_shown
from services.cli.options import JsonOption, StateOption, grouped, required_state
from services.cli.output import counted, print_json, print_lines, print_table, say
from services.cli.store_folder import ModelsOption, model_store_folder
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from services.common.rpc_client import RpcClient

TIMES = ("before", "after")
NOTHING = {"before": "an earlier version to go back to", "waiting": "a version that waits to be served"}
MOST_DETAILS = 4
"""Of so many indices, those whose answers differ most, the report is shown in full."""


@dataclass(frozen=True)
class Choice:
    """Options of `reindex`: what of, and what to do."""

    index: Annotated[
        str | None,
        typer.Option(
            metavar="INDEX",
            help="attack, semantic, temporal or entity.",
            show_default="all",
            autocompletion=offers.indices,
        ),
    ] = None
    activate: Annotated[
        bool, typer.Option("--activate", help="Serve the versions that wait, and make none. Default: off.")
    ] = False
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Serve the version before again. Default: off.")
    ] = False
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Serve the new vectors without asking. Default: off.")
    ] = False
    models: ModelsOption = None


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: appia reindex 2026-01-22 --index attack --state ~/appia")(grouped(reindex))


def reindex(
    *,
    days: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DAY]...",
            help="UTC days, YYYY-MM-DD. Default: every sealed day whose vectors are of another model.",
            autocompletion=offers.days,
            show_default=False,
        ),
    ] = None,
    choice: Choice,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed sealed days anew with the models in use.

    The old vectors serve meanwhile, and what was broken off goes on where it was. The new ones wait beside them with a
    report of how far the answers differ; then you are asked whether to serve them. One version before is kept for
    --rollback.
    """
    if choice.activate and choice.rollback:
        raise UsageError("give --activate or --rollback, not both")
    folder = required_state(state)
    with ingester_of(folder) as ingester:
        work = Reindexing(ingester, days or [], choice.index or "")
        if choice.activate or choice.rollback:
            had, op = ("before", "rollback") if choice.rollback else ("waiting", "activate")
            targets = [one for one in work.indices() if one[had]]
            if not targets:
                raise AppiaError(f"no index of {_which(days)} has {NOTHING[had]}")
            work.switch(op, targets)
        else:
            _take_models(folder, choice.models)
            waiting = work.make()
            work.waiting = waiting
            if not as_json:
                _print_waiting(waiting)
            if waiting and _is_wanted(choice, as_json=as_json):
                work.switch("activate", waiting)
                work.waiting = []
    _answer(work, as_json=as_json)


class Reindexing:
    """The work on some days, through their ingester; keeps what came of it."""

    def __init__(self, ingester: RpcClient, days: Sequence[str], index: str) -> None:
        """Work on one index of `days`, or on all where one is empty."""
        self._ingester = ingester
        self._which = {"days": days, "index": index}
        self.made: list[dict[str, Any]] = []
        self.served: list[dict[str, Any]] = []
        self.waiting: list[dict[str, Any]] = []
        self.failed: list[str] = []

    def indices(self, day: str | None = None) -> list[dict[str, Any]]:
        """The indices as the ingester describes them, those of one day with their reports.

        Those that it cannot describe are among the failures.
        """
        which = self._which if day is None else {**self._which, "days": [day], "reports": True}
        answer = call(self._ingester, "indices", which)
        self.failed += [fault for fault in answer["faults"] if fault not in self.failed]
        found: list[dict[str, Any]] = answer["indices"]
        return found

    def make(self) -> list[dict[str, Any]]:
        """Embed what is served by another model than the one in use; gives what waits then. Blocks until done."""
        wanted = [one for one in self.indices() if one["served"] != one["wanted"]]
        self._each("reindex", [one for one in wanted if one["waiting"] != one["wanted"]], self.made)
        found = [one for day in sorted({one["day"] for one in wanted}) for one in self.indices(day)]
        return [one for one in found if one["served"] != one["wanted"] == one["waiting"]]

    def switch(self, op: str, targets: Sequence[Mapping[str, Any]]) -> None:
        """Serve other versions; `op` is "activate" or "rollback"."""
        self._each(op, targets, self.served)

    def _each(self, op: str, targets: Sequence[Mapping[str, Any]], reports: list[dict[str, Any]]) -> None:
        with step_shown() as show:
            for one in targets:
                place = {"day": one["day"], "index": one["index"]}
                status = finish(self._ingester, op, place, show)
                if status["state"] == "failed":
                    self.failed.append(f"{one['index']} of {one['day']}: {status['error']}")
                else:
                    reports.append(status["report"])


def _which(days: Sequence[str] | None) -> str:
    return ", ".join(days) if days else "any sealed day"


def _take_models(folder: Path, models: Path | None) -> None:
    """Make the user's models those of the state directory, as a start of the stack does."""
    from services.cli.stack import ingester_settings, prepare_models  # noqa: PLC0415 - loads slowly
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above

    names = StateNames(folder)
    prepare_models(model_store_folder(models, os.environ), names, ingester_settings(names).models)


def _is_wanted(choice: Choice, *, as_json: bool) -> bool:
    """Whether the new vectors are to be served: said beforehand, or asked on a terminal."""
    if choice.yes:
        return True
    if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return typer.confirm("Serve the new vectors?", default=False, err=True)


def _answer(work: Reindexing, *, as_json: bool) -> None:
    if as_json:
        print_json({"made": work.made, "waiting": work.waiting, "served": work.served, "failed": work.failed})
    else:
        print_lines(
            *(
                f"{one['day']} {one['index']} is served by {one['model']}, until now by {one['before_model']}"
                for one in work.served
            )
        )
        if work.waiting:
            say("the old vectors serve on; the new ones wait for `appia reindex --activate`")
    if work.failed:
        raise AppiaError(f"{len(work.failed)} failed: {'; '.join(work.failed)}")


def _print_waiting(waiting: Sequence[Mapping[str, Any]]) -> None:
    """The reports on what waits: one line each, and the classes and events that differ most of some."""
    if not waiting:
        print_lines("Every sealed day asked about has the vectors of the models in use.")
        return
    known = [(one, one["overlap"]) for one in waiting if one["overlap"]]
    columns = ["day", "index", "!from", "!to", ">asked", ">overlap", ">worst tenth", ">own class", ">then"]
    print_table(columns, [_cells(one, report) for one, report in known])
    print_lines(
        "overlap: share of the 10 nearest that both versions name; own class: share that has the class of the event "
        "asked about, with the old vectors and then with the new ones"
    )
    for one, report in sorted(known, key=lambda pair: pair[1]["mean"])[:MOST_DETAILS]:
        print_lines("", f"{one['day']} {one['index']}, where answers differ most:")
        print_lines(*(f"  {line}" for line in _details(report)))


def _cells(one: Mapping[str, Any], report: Mapping[str, Any]) -> list[object]:
    classes = [
        "-" if report[f"same_class_{when}"] is None else f"{report[f'same_class_{when}']:.3f}"
        for when in TIMES
    ]
    shares = [f"{report[name]:.3f}" for name in ("mean", "p10")]
    return [one["day"], one["index"], report["before"], report["after"], report["asked"], *shares, *classes]


def _details(report: Mapping[str, Any]) -> list[str]:
    """The three classes and two events with the least overlap, in words."""
    classes = [
        f"class {one['name']}: overlap {one['overlap']:.2f}, own class {one['same_class_before']:.2f}, "
        f"then {one['same_class_after']:.2f} ({counted(one['asked'], 'event')})"
        for one in report["classes"][:3]
    ]
    examples = [
        f"{one['row']}: overlap {one['overlap']:.1f}; nearest {', '.join(one['before']) or 'none'}; "
        f"then {', '.join(one['after']) or 'none'}"
        for one in report["examples"][:2]
    ]
    return [*classes, *examples]
