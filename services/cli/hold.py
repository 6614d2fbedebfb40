"""`appia hold`: keeps days as they are, whatever their age and however full the disk is."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import offers
from services.cli.jobs import call, ingester_of
from services.cli.options import JsonOption, StateOption, grouped, required_state
from services.cli.output import counted, print_json, print_lines, print_table
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Holding:
    """Options of `hold`."""

    case: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="What it is for; a day may be held for several.", show_default="manual"
        ),
    ] = ""
    note: Annotated[str, typer.Option(metavar="TEXT", help="Why.", show_default="none")] = ""
    who: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Who asks; where the ingester knows keys, it is the name of yours.",
            show_default="your login name",
        ),
    ] = None
    release: Annotated[
        bool, typer.Option("--release", help="Let the days go, of --case or of all. Default: off.")
    ] = False


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog='Example: appia hold 2026-01-22 --case smith --note "ordered by the court"')(
        grouped(hold)
    )


def hold(
    *,
    days: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DAY]...",
            help="UTC days, YYYY-MM-DD. Default: none, and what is held is listed.",
            autocompletion=offers.days,
            show_default=False,
        ),
    ] = None,
    holding: Holding,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold days, let them go, or list those that are held.

    A day that is held is dropped and made smaller by nobody until every case has let it go, and health repairs nothing
    in it.
    """
    folder = required_state(state)
    if not days:
        _check_list(holding)
        _list(folder, as_json=as_json)
        return
    from services.common.days.names import parse_day  # noqa: PLC0415 - `appia --help` starts quicker without it

    wanted = list(dict.fromkeys(parse_day(day) for day in days))
    answers = release_days(folder, wanted, holding) if holding.release else hold_days(folder, wanted, holding)
    if as_json:
        print_json({"released" if holding.release else "held": answers})
    else:
        print_lines(*(_told(answer) for answer in answers))


def hold_days(state: Path, days: Sequence[str], holding: Holding) -> list[dict[str, Any]]:
    """Have days held by the running ingester, one after the other; gives the holds.

    Raises:
        AppiaError: nothing runs there, or a day cannot be held; those before it are.
    """
    who = holding.who or getpass.getuser()
    asked = {"case": holding.case, "note": holding.note, "who": who}
    with ingester_of(state) as ingester:
        return [call(ingester, "hold", {"day": day, **asked}) for day in days]


def release_days(state: Path, days: Sequence[str], holding: Holding) -> list[dict[str, Any]]:
    """Have days let go; gives for each what was released and what still holds it. Raises as `hold_days`."""
    with ingester_of(state) as ingester:
        return [{"day": day, **call(ingester, "unhold", {"day": day, "case": holding.case})} for day in days]


def _check_list(holding: Holding) -> None:
    if holding != Holding():
        raise UsageError("which day? Give days as YYYY-MM-DD; without options the command lists what is held")


def _list(folder: Path, *, as_json: bool) -> None:
    """What is held, as it lies on disk: no service is needed."""
    from dataclasses import asdict  # noqa: PLC0415 - as above

    from services.common.days.holds import read_book  # noqa: PLC0415 - as above
    from services.common.days.layout import check_layout  # noqa: PLC0415 - as above
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above

    names = StateNames(folder)
    check_layout(names)
    holds = read_book(names.retention).holds
    if as_json:
        print_json({"holds": [asdict(one) for one in holds]})
    elif holds:
        print_table(
            ["day", "case", "who", "since", "!note"],
            [[one.day, one.case, one.who, one.since, one.note] for one in holds],
        )
    else:
        print_lines("No day is held.")


def _told(answer: dict[str, Any]) -> str:
    if "released" not in answer:
        return f"{answer['day']} is held for {answer['case']} by {answer['who']}"
    released = counted(len(answer["released"]), "hold")
    left = ", ".join(one["case"] for one in answer["left"])
    return f"{answer['day']}: {released} released" + (f"; it is still held for {left}" if left else "")


def hold_case(state: Path | None, days: Sequence[str], case: str, note: str) -> list[str]:
    """Hold the days of a case that was exported; gives the days.

    Raises:
        AppiaError: they could not be held. The case is written all the same, so that says the sentence.
    """
    from services.common.days.holds import MOST_CASE, MOST_NOTE  # noqa: PLC0415 - as above

    holding = Holding(case=_printable(case, MOST_CASE), note=_printable(note, MOST_NOTE))
    try:
        hold_days(required_state(state), days, holding)
    except AppiaError as error:
        raise AppiaError(f"the case was written, and its days are not held: {error}") from None
    return list(days)


def _printable(text: str, most: int) -> str:
    """A text as a hold takes it: the note of a case may be longer, and of several lines."""
    return "".join(char if char.isprintable() else " " for char in text)[:most]
