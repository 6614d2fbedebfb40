"""`appia seal`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from services.cli import offers
from services.cli.jobs import finish, ingester_of, step_shown
from services.cli.options import JsonOption, StateOption, required_state
from services.cli.output import print_json, print_lines
from services.common.errors import AppiaError

DayArgument = Annotated[
    str, typer.Argument(metavar="DAY", help="UTC day, YYYY-MM-DD. No default.", autocompletion=offers.days)
]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: appia seal 2026-01-22 --state ~/appia")(seal)


def seal(*, day: DayArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Make a day immutable, checksummed and indexed anew.

    Days that are over are sealed by themselves after a while; events that come later make a new generation.
    """
    from services.common.days.names import parse_day  # noqa: PLC0415 - `appia --help` starts quicker without it

    day = parse_day(day)
    with ingester_of(required_state(state)) as ingester, step_shown() as show:
        status = finish(ingester, "seal", {"day": day}, show)
    if status["state"] == "failed":
        raise AppiaError(f"day {day} was not sealed: {status['error'] or 'the ingester does not say why'}")
    report = status["report"] or {}
    if as_json:
        print_json(report)
    else:
        _print_report(day, report)


def _print_report(day: str, report: dict[str, Any]) -> None:
    print_lines(f"Sealed {day}.")
    for key, value in report.items():
        if key != "day":
            shown = "; ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value
            shown = "none" if value == {} else shown
            print_lines(f"  {key}: {shown}")
