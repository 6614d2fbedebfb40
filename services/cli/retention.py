"""`appia retention`: what the limits of age and disk mean, and dropping days by hand."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import offers
from services.cli.jobs import finish, ingester_of, step_shown
from services.cli.options import JsonOption, StateOption, grouped, required_state
from services.cli.output import counted, print_json, print_lines, print_table, say
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from services.common.days.holds import Book
    from services.common.days.names import StateNames
    from services.health.retention import Limits, Plan, Space, StoredDay

_MOST_DAYS = 36_525


@dataclass(frozen=True)
class WhatIf:
    """Other limits than those in force, to see what they would mean."""

    keep_days: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, max=_MOST_DAYS, help="Days to keep; 0 for any.", show_default="in force"
        ),
    ] = None
    keep_percent: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0,
            max=100,
            help="Share of the disk in use, percent; 0: any.",
            show_default="in force",
        ),
    ] = None
    keep_bytes: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES", min=0, max=1 << 60, help="Bytes of all days; 0 for any.", show_default="in force"
        ),
    ] = None
    quantise_after_days: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=_MOST_DAYS,
            help="Age of smaller vectors; 0: never.",
            show_default="in force",
        ),
    ] = None

    def over(self, limits: Limits) -> Limits:
        """The limits with what was given in the place of theirs."""
        return replace(limits, **{name: value for name, value in asdict(self).items() if value is not None})


@dataclass(frozen=True)
class _Seen:
    """What a plan is made of."""

    limits: Limits
    days: list[StoredDay]
    space: Space
    today: str


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    retention = typer.Typer(
        help="Show how long days are kept, and drop days by hand.",
        no_args_is_help=True,
    )
    retention.command("plan", epilog="Example: appia retention plan --keep-days 90 --state ~/appia")(
        grouped(plan)
    )
    retention.command("list", epilog="Example: appia retention list --state ~/appia")(list_dropped)
    retention.command("drop", epilog="Example: appia retention drop 2026-01-22 --state ~/appia")(drop)
    app.add_typer(retention, name="retention")


def plan(*, what_if: WhatIf, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show which days would go now, and how long the room lasts.

    Also which would shrink, and how many fit. Changes nothing. The limits are keys of the configuration:
    `appia config set health.keep_days=90 health.retention_enabled=true`.
    """
    from services.health.retention import plan_retention  # noqa: PLC0415 - `appia --help` starts quicker without it

    names = _names(state)
    seen = _look(names, what_if)
    found = plan_retention(seen.days, seen.space, seen.limits, seen.today)
    if as_json:
        print_json({"limits": asdict(seen.limits), "days": len(seen.days), **_plain(found)})
    else:
        _print_plan(seen, found)


def list_dropped(*, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the days that were dropped, and what waits for a reader.

    Files that a replica still reads go when it lets go of them. Changes nothing.
    """
    book = _book(_names(state))
    if as_json:
        print_json(
            {"dropped": [asdict(one) for one in book.dropped], "going": [asdict(one) for one in book.going]}
        )
        return
    going = {one.day for one in book.going if not one.part}
    if book.dropped:
        print_table(
            ["day", "dropped", ">events", ">MB", "!files"],
            [
                [
                    one.day,
                    one.when,
                    f"{one.rows:,}",
                    _mb(one.bytes),
                    "still read" if one.day in going else "gone",
                ]
                for one in book.dropped
            ],
        )
    else:
        print_lines("No day was dropped.")
    parts = [one for one in book.going if one.part]
    if parts:
        print_lines(*(f"{one.day}: {one.part} goes when no replica reads it any more" for one in parts))


def drop(
    *,
    days: Annotated[
        list[str],
        typer.Argument(
            metavar="DAY...", help="UTC days, YYYY-MM-DD. No default.", autocompletion=offers.days
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Drop without asking. Default: off.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete sealed days for good; they are signed as removed.

    They take no events any more. A day that is held is not dropped. Files that a replica still reads go when it lets
    go of them.
    """
    from services.common.days.names import parse_day  # noqa: PLC0415 - as above

    wanted = sorted({parse_day(day) for day in days})
    _names(state)
    if not yes:
        _ask(wanted)
    reports, failed = _drop(required_state(state), wanted)
    if as_json:
        print_json({"dropped": reports, "failed": failed})
    else:
        print_lines(*(_told(one) for one in reports))
    if failed:
        raise AppiaError("; ".join(failed))


def _ask(days: Sequence[str]) -> None:
    """Go on only where somebody says so.

    Raises:
        UsageError: nobody can be asked.
        Abort: it is not wanted.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("dropping days deletes them for good: give --yes where nobody can be asked")
    shown = ", ".join(days[:10]) + (f" and {len(days) - 10} more" if len(days) > 10 else "")
    typer.confirm(
        f"Delete {counted(len(days), 'day')} for good ({shown})?", default=False, abort=True, err=True
    )


def _drop(state: Path, days: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Have days dropped by the running ingester; gives the reports, and why others were not."""
    reports, failed = [], []
    with ingester_of(state) as ingester, step_shown() as show:
        for day in days:
            try:
                status = finish(ingester, "drop", {"day": day}, show)
            except AppiaError as error:
                failed.append(str(error))
                continue
            if status["state"] == "failed":
                failed.append(f"{day}: {status['error']}")
            else:
                reports.append({"day": day, **status["report"]})
    return reports, failed


def _told(report: dict[str, Any]) -> str:
    freed = f"{counted(report['rows'], 'event')}, {_mb(report['bytes'])} MB"
    later = "; its files go when the last replica has let go of them" if report["waits"] else ""
    return f"{report['day']} is dropped: {freed}{later}"


def _names(state: Path | None) -> StateNames:
    from services.common.days.layout import check_layout  # noqa: PLC0415 - as above
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above

    names = StateNames(required_state(state))
    check_layout(names)
    return names


def _book(names: StateNames) -> Book:
    from services.common.days.holds import read_book  # noqa: PLC0415 - as above

    return read_book(names.retention)


def _look(names: StateNames, what_if: WhatIf) -> _Seen:
    import time  # noqa: PLC0415 - as above

    from services.common.days.names import day_of  # noqa: PLC0415 - as above
    from services.health.probes.retention import space_of, stored_days  # noqa: PLC0415 - as above

    days = stored_days(names, _book(names))
    return _Seen(what_if.over(_limits(names)), days, space_of(names), day_of(time.time_ns()))


def _limits(names: StateNames) -> Limits:
    """The limits in force; those of the settings where the live configuration cannot be read, which is told."""
    from services.cli.config_place import below, open_config, place_of  # noqa: PLC0415 - as above
    from services.common.config.tree import HEALTH, HealthLive  # noqa: PLC0415 - as above
    from services.health.probes.retention import limits_of  # noqa: PLC0415 - as above

    place = place_of(names.root, None, None)
    base = below(place)[HEALTH].base
    try:
        live = base.under(open_config(place).read().content.of(HEALTH))
    except AppiaError as error:
        say(f"the live configuration is not looked at: {error}")
        live = base.values
    return limits_of(HealthLive.model_validate(live.model_dump()))


def _plain(found: Plan) -> dict[str, Any]:
    return {
        **asdict(found),
        "drops": [{"day": one.day, "why": one.why} for one in found.drops],
        "repacks": [{"day": one.day, "index": one.index, "form": one.form} for one in found.repacks],
    }


def _print_plan(seen: _Seen, found: Plan) -> None:
    limits = seen.limits
    keeps = [counted(limits.keep_days, "day")] if limits.keep_days else []
    keeps += [f"{limits.keep_percent:g} % of the disk"] if limits.keep_percent else []
    keeps += [f"{_mb(limits.keep_bytes)} MB"] if limits.keep_bytes else []
    print_lines(
        f"limits: {', '.join(keeps) or 'none'}; at least {counted(limits.keep_least_days, 'day')}; retention is "
        f"{'on' if limits.retention_enabled else 'off: nothing is done by itself'}",
        f"there: {counted(len(seen.days), 'day')}, {_mb(found.days_bytes)} MB"
        + ("" if found.budget_bytes is None else f" of {_mb(found.budget_bytes)} MB that they may take")
        + (f"; {counted(found.held, 'day')} held" if found.held else ""),
        _forecast(found),
        *(
            [f"over the limit, and nothing more may go: {_mb(found.short_bytes)} MB"]
            if found.short_bytes
            else []
        ),
    )
    if found.drops:
        print_table(["!day to drop", "!why"], [[one.day, one.why] for one in found.drops])
    if found.repacks:
        print_table(
            ["day to shrink", "index", "form"], [[one.day, one.index, one.form] for one in found.repacks]
        )
    if not found.drops and not found.repacks:
        print_lines("nothing is to be done")


def _forecast(found: Plan) -> str:
    if found.days_that_fit is None:
        return "forecast: none, there is no limit of room or no sealed day yet"
    fits = f"forecast: {counted(found.days_that_fit, 'day')} like the newest ones fit"
    if found.days_left is None:
        return f"{fits}; no day has to go for room within two years"
    return f"{fits}; in {counted(round(found.days_left), 'day')} the oldest day has to go for room"


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f}"
