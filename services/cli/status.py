"""`appia status`: the whole fleet on one screen, once or live."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import JsonOption, StateOption, required_state
from services.cli.output import print_json
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from services.cli.fleet_source import FleetSource
    from services.cli.look import Look


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: appia status --state ~/appia --watch")(status)


def status(
    *,
    state: StateOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it anew every 2 s, until Ctrl-C. Default: once.")
    ] = False,
    intake: Annotated[
        bool,
        typer.Option(
            "--intake", help="Show what the ingester counted instead: refusals, keys, sensors. Default: off."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the whole fleet: services, disk, days, sensors, alerts.

    Health tells what it sees; where it does not run, services are asked directly, and less is known. What is wrong
    comes first and has colours. With --intake: events, refusals by reason and keys since the ingester started. A key
    that is quiet can be retired; a sensor of wire version 1 that repeats nonces can be forged.
    """
    if intake and watch:
        raise UsageError("--intake is shown once: leave --watch out")
    if intake:
        _show_intake(required_state(state), as_json=as_json)
        return
    from services.cli.fleet_source import FleetSource  # noqa: PLC0415 - `appia --help` starts quicker without it

    with contextlib.closing(FleetSource(required_state(state))) as source:
        if watch:
            _watch(source, as_json=as_json)
        else:
            _show(source, as_json=as_json)


def _show_intake(state: Path, *, as_json: bool) -> None:
    from services.cli.jobs import call, ingester_of  # noqa: PLC0415 - as above
    from services.cli.status_intake import show_intake  # noqa: PLC0415 - as above

    with ingester_of(state) as ingester:
        counts = call(ingester, "status", {})
    if as_json:
        print_json(counts)
    else:
        show_intake(counts)


def _show(source: FleetSource, *, as_json: bool) -> None:
    from services.cli.look import look_of  # noqa: PLC0415 - as above
    from services.cli.status_screen import screen_lines  # noqa: PLC0415 - as above

    fleet = source.look()
    if as_json:
        print_json(fleet.as_dict())
        return
    sys.stdout.writelines(f"{line}\n" for line in screen_lines(fleet, look_of(sys.stdout, os.environ)))


def _watch(source: FleetSource, *, as_json: bool) -> None:
    """Until Ctrl-C, which is how it is meant to end. A stack that goes away may come back."""
    from services.cli.status_screen import screen_lines  # noqa: PLC0415 - as above
    from services.cli.status_watch import EVERY_S, watch  # noqa: PLC0415 - as above

    def lines(look: Look) -> list[str]:
        try:
            return screen_lines(source.look(), look)
        except AppiaError as failed:
            return [str(failed)]

    def pause() -> bool:
        time.sleep(EVERY_S)
        return True

    source.look()  # what is wrong with the command is told at once
    with contextlib.suppress(KeyboardInterrupt):
        while as_json:
            _show(source, as_json=True)
            sys.stdout.flush()
            pause()
        watch(lines, pause)
