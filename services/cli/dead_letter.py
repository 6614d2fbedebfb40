"""`appia dead-letter`: what could not be taken in, and how it is taken in after all."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.jobs import call, ingester_of
from services.cli.options import JsonOption, StateOption, required_state
from services.cli.output import counted, print_json, print_lines, print_table
from services.cli.storage_key import StorageKeyOption, log_keys
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.ingester.refused import Kept, Refused

_SHOWN_BYTES = 256

ReasonOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reason", metavar="REASON", help="Only what was refused for this; may be given several times."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    letters = typer.Typer(
        help="What could not be taken in: list it, show it, replay it.", no_args_is_help=True
    )
    letters.command("list", epilog="Example: appia dead-letter list --state ~/appia")(list_kept)
    letters.command("show", epilog="Example: appia dead-letter show 1:32 --state ~/appia")(show)
    letters.command("replay", epilog="Example: appia dead-letter replay --reason too_old --state ~/appia")(
        replay
    )
    app.add_typer(letters, name="dead-letter")


def list_kept(
    *,
    reason: ReasonOption = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Show at most this many, the oldest first.")
    ] = 20,
    state: StateOption = None,
    storage_key: StorageKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count what is kept by reason, and show the oldest of it.

    Reads the disk itself, whether the stack runs or not, and changes nothing.
    """
    wanted = frozenset(reason or ())
    counts: Counter[str] = Counter()
    shown: list[Kept] = []
    for kept in _kept(_open(state, storage_key), wanted):
        counts[kept.reason] += 1
        if len(shown) < limit:
            shown.append(kept)
    if as_json:
        print_json({"counts": dict(counts), "records": [_summary(kept) for kept in shown]})
        return
    if not counts:
        print_lines(
            "The dead letter holds nothing that was not taken in."
            if not wanted
            else "Nothing of that is kept."
        )
        return
    print_table(["reason", ">kept"], [(name, f"{number:,}") for name, number in counts.most_common()])
    print_lines("")
    rows = [(kept.place, _time(kept), kept.reason, kept.origin, kept.detail) for kept in shown]
    print_table(["name", "refused at", "reason", "from", "~why"], rows)


def show(
    *,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its name in the list, such as 1:32. No default.")
    ],
    state: StateOption = None,
    storage_key: StorageKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show why something was refused, and its bytes."""
    from services.ingester.refused import read_place  # noqa: PLC0415 - `appia --help` starts quicker without it

    kept = _open(state, storage_key).find(read_place(name))
    if as_json:
        print_json({**_summary(kept), "data": kept.data.hex()})
        return
    print_lines(
        f"{kept.place}: {kept.reason}",
        f"  why: {kept.detail}",
        f"  from: {kept.origin}",
        f"  refused at: {_time(kept)}",
        f"  bytes: {len(kept.data):,}"
        + (f", the first {_SHOWN_BYTES}:" if len(kept.data) > _SHOWN_BYTES else ""),
        *_hex_lines(kept.data[:_SHOWN_BYTES]),
    )


def replay(
    *,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names in the list. Default: all events.")
    ] = None,
    reason: ReasonOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the running ingester take events in again.

    They may be of any age. What it takes is marked, and not taken twice; what it refuses again stays. Frames that were
    refused stay too: nothing says that a sensor sent them. The exit status is 0 also when some were refused again.
    """
    if names and reason:
        raise UsageError("name records or reasons, not both")
    asked: dict[str, Any] = {"records": names or [], "reasons": reason or []}
    taken = duplicates = 0
    refused: Counter[str] = Counter()
    with ingester_of(required_state(state)) as ingester:
        while True:
            answer = call(ingester, "replay", asked)
            taken, duplicates = taken + answer["taken"], duplicates + answer["duplicates"]
            refused.update(answer["refused"])
            if not answer["next"]:
                break
            asked["start"] = answer["next"]
    if as_json:
        print_json({"taken": taken, "duplicates": duplicates, "refused": dict(refused)})
        return
    print_lines(
        f"Took in {counted(taken, 'event')}; {duplicates:,} were there already, {refused.total():,} stay."
    )
    print_lines(*(f"  {name}: {number:,}" for name, number in refused.most_common()))


def _open(state: Path | None, storage_key: Path | None) -> Refused:
    from services.common.days.layout import check_layout  # noqa: PLC0415 - as above
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above
    from services.ingester.refused import Refused  # noqa: PLC0415 - as above

    names = StateNames(required_state(state))
    check_layout(names)
    return Refused(names.dead_letter, log_keys(storage_key, names))


def _kept(refused: Refused, reasons: frozenset[str]) -> Iterator[Kept]:
    for kept in refused.kept():
        if not reasons or kept.reason in reasons:
            yield kept


def _summary(kept: Kept) -> dict[str, Any]:
    return {
        "name": str(kept.place),
        "reason": kept.reason,
        "detail": kept.detail,
        "origin": kept.origin,
        "refused_at": _time(kept),
        "bytes": len(kept.data),
        "is_event": kept.is_event,
    }


def _time(kept: Kept) -> str:
    return datetime.fromtimestamp(kept.received_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _hex_lines(data: bytes) -> Iterator[str]:
    for start in range(0, len(data), 16):
        part = data[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"  {start:06x}  {part.hex(' '):<47}  {text}"
