"""`appia timeline`: what a host did, and where that changed."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.answers_timeline import show_timeline
from services.cli.ask import Asking, put
from services.cli.filters import FilterOptions  # noqa: TC001 - read when a command is made
from services.cli.options import grouped


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="Example: appia timeline 10.0.0.5 --from 2026-01-20, or appia timeline 10.0.0.5@2026-01-22"
    )(grouped(timeline))


def timeline(
    *,
    address: Annotated[
        str, typer.Argument(metavar="IP[@DAY]", help="A host, on all days or on one. No default.")
    ],
    asking: Asking,
    only: FilterOptions,
) -> None:
    """Show what a host did hour by hour, and where that changed.

    A change is one against the host's own past: far more or less than in its hours before, a service that is new, the
    first events that matter, a time of day at which it was never active, a silence. --from, --to and --day choose which
    hours are shown; what was before them is compared with all the same.
    """
    put(asking, show_timeline, "timeline", {"host": address, "filters": only.request()})
