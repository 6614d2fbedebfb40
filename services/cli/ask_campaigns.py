"""`appia campaigns`: what belongs together across days."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.answers_campaigns import show_campaigns
from services.cli.ask import MOST_EVENTS, LongAsking, put
from services.cli.filters import FilterOptions  # noqa: TC001 - read when a command is made
from services.cli.options import grouped


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="Example: appia campaigns --from 2026-01-20, or appia campaigns --from-event EVENT_ID"
    )(grouped(campaigns))


def campaigns(
    *,
    event_id: Annotated[
        str | None,
        typer.Option(
            "--from-event",
            metavar="EVENT_ID",
            help="Only the campaign that this event belongs to.",
            show_default="all",
        ),
    ] = None,
    k: Annotated[
        int, typer.Option("-k", metavar="N", min=1, max=MOST_EVENTS, help="Campaigns to show at most.")
    ] = 10,
    asking: LongAsking,
    only: FilterOptions,
) -> None:
    """Show which events that matter belong together.

    Each campaign tells who did what on which day, step by step, and why that is linked.
    Events matter where their class says so, or without one their category, label or score; with a filter about verdicts
    all that pass do. They are linked by hosts and networks that hardly anything else has to do with.
    """
    arguments = {"k": k, "filters": only.request()}
    if event_id is not None:
        arguments["event_id"] = event_id
    put(asking, show_campaigns, "campaigns", arguments)
