"""`appia repair`: has what is missing or damaged of sealed days made anew from their own events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import offers
from services.cli.check import ADVICE, check_days, wanted_days, wanted_state
from services.cli.jobs import finish, ingester_of, step_shown
from services.cli.options import JsonOption, StateOption, grouped
from services.cli.output import counted, print_json, print_lines, print_prose, say
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from services.common.days.consistency import DayState, Part


@dataclass(frozen=True)
class Choice:
    """Options of `repair`: what of, and how."""

    every: Annotated[bool, typer.Option("--all", help="All days. Default: off.")] = False
    index: Annotated[
        str | None,
        typer.Option(
            metavar="PART",
            help="attack, semantic, temporal, entity, or chunk for all but the indices.",
            show_default="all",
            autocompletion=offers.parts,
        ),
    ] = None
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Look at presence and sizes only. Default: every byte is compared."),
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be repaired, and change nothing. Default: off.")
    ] = False


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: appia repair 2026-01-22 --index attack --state ~/appia")(grouped(repair))


def repair(
    *,
    day: Annotated[
        str | None,
        typer.Argument(
            metavar="[DAY]",
            help="UTC day, YYYY-MM-DD. No default: give one, or --all.",
            show_default=False,
            autocompletion=offers.days,
        ),
    ] = None,
    choice: Choice,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make what is missing or damaged of sealed days anew.

    Days are checked first. The running ingester then rebuilds each part from the day's own events, when it is not busy
    taking events in; what serves goes on serving, and replicas take the new files over by themselves. Events that are
    damaged themselves come back from a backup only. The exit status is 1 when something stays as it is.
    """
    if (day is None) == (not choice.every):
        raise UsageError("which day? Give one DAY, or --all")
    part = _part(choice.index)
    names = wanted_state(state)
    found = check_days(names, wanted_days(names, day, every=False), full=not choice.quick)
    plan = [one for checked in found for one in _wanted(checked, part)]
    lost = [f"{where}: {why}; {ADVICE['backup']}" for where, why in _lost(found, part)]
    report = Report(plan, lost)
    if plan and not choice.dry_run:
        _repair(names.root, report, as_json=as_json)
    if as_json:
        print_json(report.as_plain())
    else:
        _show(report, dry_run=choice.dry_run)
    left = [*report.failed, *lost]
    if left:
        raise AppiaError(f"{counted(len(left), 'part')} not repaired: {'; '.join(left)}")


@dataclass(frozen=True)
class Report:
    """What is wrong, and what came of it."""

    plan: Sequence[tuple[str, Part]]  # day and part of what can be made anew
    lost: Sequence[str]  # what only a backup brings back
    repaired: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def as_plain(self) -> dict[str, Any]:
        """The report as plain values."""
        plan = [
            {"day": day, "part": part.name, "state": part.state, "why": part.why} for day, part in self.plan
        ]
        return {"plan": plan, "repaired": self.repaired, "failed": self.failed, "lost": list(self.lost)}


def _part(index: str | None) -> str | None:
    from services.common.days.consistency import PARTS  # noqa: PLC0415 - `appia --help` starts quicker without it

    if index not in (None, *PARTS):
        raise UsageError(f"There is no part {str(index)[:80]!r} of a day; there are: {', '.join(PARTS)}.")
    return index


def _wanted(state: DayState, only: str | None) -> Iterator[tuple[str, Part]]:
    """What can be made anew; a chunk comes with all of its indices."""
    wrong = [part for part in state.wrong if part.remedy == "repair"]
    chunk = [part for part in wrong if part is state.chunk]
    is_lost = state.chunk is not None and state.chunk.remedy == "backup"
    for part in chunk or wrong:
        if only in {None, part.name} and not is_lost:
            yield state.day, part


def _lost(found: Sequence[DayState], only: str | None) -> Iterator[tuple[str, str]]:
    """What only a backup brings back, and why: events, in a sealed day or in the logs of an open one."""
    for state in found:
        for part in state.wrong:
            if part.remedy == "backup" and only in {None, part.name}:
                yield f"{part.name} of {state.day}", part.why
        if only is None:
            yield from ((f"open events of {state.day}", fault) for one in state.open for fault in one.faults)


def _repair(root: Path, report: Report, *, as_json: bool) -> None:
    """Have it done, one after the other, and put what came of it into the report. Blocks until the last has ended."""
    with ingester_of(root) as ingester, step_shown() as show:
        for day, part in report.plan:
            if not as_json:
                say(f"{day} {part.name} is {part.state}: it is being made anew")
            status = finish(ingester, "repair", {"day": day, "index": part.name}, show)
            if status["state"] == "failed":
                report.failed.append(f"{part.name} of {day}: {status['error']}")
                continue
            report.repaired.append(status["report"])
            if not as_json:
                print_prose(f"{day} {part.name}: {'; '.join(status['report']['done']) or 'it is whole'}")


def _show(report: Report, *, dry_run: bool) -> None:
    if not report.plan and not report.lost:
        print_lines("There is nothing to repair.")
    if dry_run:
        print_prose(
            *(
                f"{day} {part.name} would be made anew: it is {part.state}: {part.why}"
                for day, part in report.plan
            )
        )
