"""`appia sensors`: which sensors send, and those that were taken out of service."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.durations import lasting
from services.cli.options import JsonOption, StateOption, required_state
from services.cli.output import print_json, print_lines, print_table

NS = 1_000_000_000
UNNAMED = "(unnamed)"

SensorArgument = Annotated[
    str, typer.Argument(metavar="SENSOR", help="Its name, as `appia sensors list` shows it.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    sensors = typer.Typer(
        help="List the sensors that send; forget one that was taken away. See docs/health.md.",
        no_args_is_help=True,
    )
    sensors.command("list", epilog="Example: appia sensors list --state ~/appia")(show)
    sensors.command("forget", epilog="Example: appia sensors forget office-7 --state ~/appia")(forget)
    app.add_typer(sensors, name="sensors")


def show(*, state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the sensors that health watches, the longest silent first.

    Those are they that sent events as they happened within the last 30 days.
    """
    from services.cli.fleet import observation_of  # noqa: PLC0415 - `appia --help` starts quicker without it
    from services.cli.health_at import health_of  # noqa: PLC0415 - as above
    from services.cli.jobs import call  # noqa: PLC0415 - as above
    from services.health.plain import plain  # noqa: PLC0415 - as above

    with health_of(required_state(state)) as health:
        seen = observation_of(call(health, "fleet", {}))
    found = sorted(seen.sensors or (), key=lambda one: (one.newest_ns, one.name))
    if as_json:
        print_json({"sensors": plain(found)})
        return
    rows = [
        [
            one.name or UNNAMED,
            f"{lasting(max(seen.time_ns - one.newest_ns, 0) / NS)} ago",
            lasting(one.usual_gap_s) if one.usual_gap_s else "?",
            f"{one.events:,}",
            f"{one.clock_s:+.1f} s",
        ]
        for one in found
    ]
    if rows:
        print_table(["~sensor", ">newest event", ">usually every", ">events", ">clock"], rows)
    else:
        print_lines("No sensor has sent anything as it happened.")


def forget(sensor: SensorArgument, *, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Watch a sensor that was taken away no more.

    Until it sends again: the alert that it is silent ends.
    """
    from services.cli.health_at import health_of  # noqa: PLC0415 - as above
    from services.cli.jobs import call  # noqa: PLC0415 - as above

    name = "" if sensor == UNNAMED else sensor
    with health_of(required_state(state)) as health:
        told = call(health, "forget", {"sensor": name})
    if as_json:
        print_json(told)
    else:
        print_lines(f"{sensor} is not watched until it sends again.")
