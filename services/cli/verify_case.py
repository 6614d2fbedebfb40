"""`appia verify-case`: whether a case that was handed over is as it was signed."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it when a command is made
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import JsonOption  # noqa: TC001 - typer reads it when a command is made
from services.cli.output import counted, print_json, print_lines
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.common.cases.checking import CaseCheck


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "verify-case", epilog="Example: appia verify-case case.zip --public-key 3f9a1c0b72d4e815.public"
    )(verify_case)


def verify_case(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The case. No default.")],
    *,
    public_key: Annotated[
        Path,
        typer.Option(
            metavar="KEY", help="File of the public key that the case has to be signed with. No default."
        ),
    ],
    chain_key: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY",
            help="File of the public key of the chain of days, where another key signs cases.",
            show_default="the same",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a case with the public key alone.

    Every file of a case that `appia export-case` wrote has to be as it was signed, none may be missing and none put in;
    and it is said of each event whether it was in a day that the chain names. Nothing is unpacked. The exit status is 1
    when anything is wrong.
    """
    from services.common.cases.checking import check_case  # noqa: PLC0415 - `appia --help` starts quicker without it
    from services.common.chain.keys import read_public_key  # noqa: PLC0415 - as above

    trusted = read_public_key(public_key)
    check = check_case(file, trusted, trusted if chain_key is None else read_public_key(chain_key))
    if as_json:
        print_json(_plain(check))
    else:
        print_lines(*_lines(check))
    if check.faults:
        raise AppiaError(f"{counted(len(check.faults), 'fault')} found: do not rely on this case")


def _plain(check: CaseCheck) -> dict[str, Any]:
    listing = check.listing
    return {
        "created": listing.created,
        "appia": listing.appia,
        "note": listing.note,
        "as_of": listing.as_of,
        "head": listing.head,
        "events": [
            {**vars(shown.event), "original": shown.original, "link": shown.link} for shown in check.events
        ],
        "files": sorted(listing.files),
        "left_out": [vars(one) for one in listing.left_out],
        "faults": list(check.faults),
    }


def _lines(check: CaseCheck) -> Iterator[str]:
    listing = check.listing
    verdict = counted(len(check.faults), "fault") if check.faults else "whole, as it was signed"
    yield f"case: {verdict}; {counted(len(listing.files), 'file')}, made {listing.created} by appia {listing.appia}"
    yield from (f"  {fault}" for fault in check.faults)
    if listing.note:
        yield f"note: {listing.note}"
    yield f"as of: {listing.as_of}"
    if listing.head:
        yield f"head of the chain then: {listing.head}"
    for number, shown in enumerate(check.events, 1):
        yield f"event {number}: {shown.event.event_id}"
        if not shown.original:
            yield "  as the replica told it; its own bytes are not there"
        elif shown.link:
            yield f"  its own bytes; they were in the day {shown.event.day}, signed by link {shown.link}"
        else:
            yield "  its own bytes; nothing here shows that they were in a signed day"
    yield from (f"not in it: {one.what}: {one.why}" for one in listing.left_out)
