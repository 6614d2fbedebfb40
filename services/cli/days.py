"""`appia seal` and `appia verify`: whole days, one by one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import offers
from services.cli.jobs import finish, ingester_of, step_shown
from services.cli.options import JsonOption, StateOption, required_state
from services.cli.output import counted, print_json, print_lines
from services.cli.storage_key import StorageKeyOption, log_keys
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from services.common.days.verify import DayCheck
    from services.common.feedback.follower import FeedbackFollower

DayArgument = Annotated[
    str, typer.Argument(metavar="DAY", help="UTC day, YYYY-MM-DD. No default.", autocompletion=offers.days)
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: appia seal 2026-01-22 --state ~/appia")(seal)
    app.command(epilog="Example: appia verify 2026-01-22 --state ~/appia")(verify)


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


def verify(
    *,
    day: Annotated[
        str | None,
        typer.Argument(
            metavar="[DAY]",
            help="UTC day, YYYY-MM-DD. Default: all.",
            show_default=False,
            autocompletion=offers.days,
        ),
    ] = None,
    state: StateOption = None,
    storage_key: StorageKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every file of a day, or of everything.

    Everything is all days, and what analysts said. The exit status is 1 when anything is wrong. Reads the disk itself,
    whether the stack runs or not, and changes nothing. Without the storage key, records of encrypted logs are
    checked by their checksum only, and remarks in them cannot be counted.
    """
    from services.common.days.names import StateNames, check_layout, parse_day  # noqa: PLC0415 - as above
    from services.common.days.verify import verify_day  # noqa: PLC0415 - as above
    from services.common.feedback.follower import FeedbackFollower  # noqa: PLC0415 - as above

    wanted = None if day is None else parse_day(day)
    names = StateNames(required_state(state))
    check_layout(names)
    there = names.days()
    days = there if wanted is None else [wanted]
    if days and days[0] not in there:
        raise AppiaError(f"{names.root} has no day {day}: `appia days` shows those there are")
    keys = log_keys(storage_key)
    checks = [verify_day(names.day(one), keys) for one in days]
    said = FeedbackFollower(names, keys)
    if wanted is None:
        said.poll()
    if as_json:
        feedback = {"feedback": {"remarks": len(said.book), "faults": said.faults}} if wanted is None else {}
        print_json({"days": [asdict(check) for check in checks], **feedback})
    else:
        _print_checks(checks)
        _print_feedback(said)
    faults = sum(len(check.faults) for check in checks) + len(said.faults)
    if faults:
        raise AppiaError(f"{counted(faults, 'fault')} found; what is damaged is not served, all else is")


def _print_checks(checks: list[DayCheck]) -> None:
    if not checks:
        print_lines("There is no day to check.")
    for check in checks:
        verdict = counted(len(check.faults), "fault") if check.faults else "whole"
        print_lines(f"{check.day}: {verdict}; {counted(check.rows, 'event')}, {counted(check.files, 'file')}")
        print_lines(*(f"  {index}: {form}" for index, form in check.vectors.items()))
        print_lines(*(f"  {fault}" for fault in check.faults))


def _print_feedback(said: FeedbackFollower) -> None:
    if said.faults:
        print_lines(f"feedback: {counted(len(said.faults), 'fault')}; {counted(len(said.book), 'remark')}")
        print_lines(*(f"  {fault}" for fault in said.faults))
    elif len(said.book):
        print_lines(f"feedback: whole; {counted(len(said.book), 'remark')}")
