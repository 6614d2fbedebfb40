"""`appia chain`: shows the signed chain of days, and signs what no link names."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from services.cli import offers
from services.cli.jobs import finish, ingester_of, step_shown
from services.cli.options import JsonOption, StateOption, required_state
from services.cli.output import counted, print_json, print_lines, print_table
from services.common.errors import AppiaError

DaysArgument = Annotated[
    list[str],
    typer.Argument(metavar="DAY...", help="UTC days, YYYY-MM-DD. No default.", autocompletion=offers.days),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    chain = typer.Typer(
        help="The signed chain of days: list it, sign older days, end one.", no_args_is_help=True
    )
    chain.command("list", epilog="Example: appia chain list --state ~/appia")(list_links)
    chain.command("adopt", epilog="Example: appia chain adopt 2026-01-22 --state ~/appia")(adopt)
    chain.command("remove", epilog="Example: appia chain remove 2026-01-22 --state ~/appia")(remove)
    app.add_typer(chain, name="chain")


def list_links(*, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show what was signed, the oldest first. Changes nothing; `appia verify` compares it with the days."""
    from services.common.chain.store import read_chain  # noqa: PLC0415 - `appia --help` starts quicker without it
    from services.common.days.layout import check_layout  # noqa: PLC0415 - as above
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above

    names = StateNames(required_state(state))
    check_layout(names)
    chain = read_chain(names.links, None)
    rows: list[dict[str, Any]] = [
        {
            "link": link.number,
            "time": link.time,
            "what": link.what,
            "day": link.day,
            "generation": 0 if link.state is None else link.state.served or 0,
            "key": link.key_id,
            "digest": link.digest,
        }
        for link in chain.links
    ]
    if as_json:
        print_json({"links": rows, "head": chain.head, "faults": [fault.sentence for fault in chain.faults]})
    elif rows:
        shown = [[*list(row.values())[:4], row["generation"] or "", row["key"]] for row in rows]
        print_table([">link", "time", "what", "day", ">generation", "key"], shown)
        print_lines(f"head: {chain.head}")
    else:
        print_lines("There is no chain: nothing was signed.")
    if chain.faults:
        raise AppiaError("; ".join(fault.sentence for fault in chain.faults))


def adopt(*, days: DaysArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Sign sealed days as they lie there now.

    For days that were sealed before there was a key. What was signed before has to be as it was; all else is checked
    against its hashes and then signed, so look at it before.
    """
    reports = _have_signed("adopt", days, state)
    if as_json:
        print_json({"signed": reports})
        return
    for report in reports:
        new = len(report["parts"])
        print_lines(
            f"{report['day']}: generation {report['generation']}, {counted(new, 'part')} signed"
            if new
            else f"{report['day']}: all of it was signed already"
        )


def remove(*, days: DaysArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Sign that days whose sealed files are gone are meant to be gone.

    Delete or move a day's folder first, with the ingester stopped; without this, `appia verify` says it was removed.
    """
    reports = _have_signed("sign_removal", days, state)
    if as_json:
        print_json({"signed": reports})
    else:
        print_lines(*(f"{report['day']}: signed as removed" for report in reports))


def _have_signed(kind: str, days: list[str], state: Any) -> list[dict[str, Any]]:
    """Let the running ingester sign days, one after the other; those before one that fails stay signed.

    Raises:
        AppiaError: nothing runs there, or a day cannot be signed.
    """
    from services.common.days.names import parse_day  # noqa: PLC0415 - as above

    wanted = [parse_day(day) for day in days]
    reports = []
    with ingester_of(required_state(state)) as ingester, step_shown() as show:
        for day in wanted:
            status = finish(ingester, kind, {"day": day}, show)
            if status["state"] == "failed":
                raise AppiaError(status["error"])
            reports.append(status["report"])
    return reports
