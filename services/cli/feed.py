"""`appia feed`: its options. What it does is in `feeding`, which is loaded only when it runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads it when a command is made
from typing import Annotated

import typer

from services.cli import offers
from services.cli.options import JsonOption, StateOption, grouped


class Transport(StrEnum):
    """How events travel."""

    V2 = "v2"
    V1_PUSH = "v1-push"
    V1_PUB = "v1-pub"


class Labels(StrEnum):
    """What becomes of the label of a data set."""

    CLASSIFICATION = "classification"
    METADATA = "metadata"
    NONE = "none"


@dataclass(frozen=True)
class Target:
    """Options about where events go."""

    state: StateOption = None
    to: Annotated[
        str | None,
        typer.Option(
            metavar="ENDPOINT",
            help="Send there instead, tcp://HOST:PORT.",
            show_default="the stack of --state",
        ),
    ] = None
    keys: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Key folder, needed with --to.", show_default="DIR/keys of --state"),
    ] = None
    transport: Annotated[
        Transport,
        typer.Option(help="v2 is acknowledged; v1-push and v1-pub are for old receivers, and can lose."),
    ] = Transport.V2
    channel: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Channel the keys are derived for.",
            show_default="that of the receiver's default",
        ),
    ] = None


@dataclass(frozen=True)
class Reading:
    """Options about how records are read."""

    labels: Annotated[
        Labels,
        typer.Option(
            help="A data set's label decides the event's class, or is kept beside it, or is left out."
        ),
    ] = Labels.CLASSIFICATION
    node: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Sensor named in events that name none.", show_default="feed-FORMAT"
        ),
    ] = ""
    timezone: Annotated[
        str, typer.Option(metavar="ZONE", help="Time zone of times without one, such as America/Halifax.")
    ] = "UTC"
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on reading a file as it grows, until Ctrl-C. Default: off.")
    ] = False
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first record that is refused. Default: off.")
    ] = False


@dataclass(frozen=True)
class Amount:
    """Options about how much is sent and how fast."""

    rate: Annotated[
        float | None,
        typer.Option(
            metavar="N", help="Events per second at most.", show_default="as fast as they are taken"
        ),
    ] = None
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Stop after N events.", show_default="all")
    ] = None
    repeat: Annotated[int, typer.Option(metavar="N", min=1, help="Send everything N times ...")] = 1
    shift_days: Annotated[float, typer.Option(metavar="D", help="... each time D days later.")] = 7.0
    as_json: JsonOption = False


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: appia feed --state ~/appia --format cicflowmeter flows.csv.gz")(
        grouped(feed)
    )


def feed(
    *,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Files, plain or gzip; folders; or - for standard input."),
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="cicflowmeter, zeek-conn, suricata-eve, mldefender-jsonl or mldefender-pb; of firewalls' decisions "
            "firewall-csv or detections-pb. No default.",
            autocompletion=offers.formats,
        ),
    ],
    target: Target,
    reading: Reading,
    amount: Amount,
) -> None:
    """Read traffic records, send them, end when all are on disk.

    Records that cannot be read are named on standard error with file, line and reason; the exit status is then 1.
    """
    from services.cli.feeding import run  # noqa: PLC0415 - other commands start quicker without it

    status = run(tuple(paths), form, (target, reading, amount))
    if status:
        raise typer.Exit(status)
