"""The question `hybrid`: what one host did, in a window of time, that a text describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import ask
from services.cli.answers_patterns import show_similar
from services.cli.ask import AskingEvents, Showing  # noqa: TC001 - read when a command is made
from services.cli.filters import FilterOptions  # noqa: TC001 - read when a command is made
from services.cli.options import grouped
from services.cli.output import counted, print_lines

if TYPE_CHECKING:
    from collections.abc import Mapping


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog='Example: appia hybrid --entity 10.0.0.5 --from 2026-01-20 --to 2026-01-22 --pattern "slow download"'
    )(grouped(hybrid))


def hybrid(
    *,
    entity: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Address or network of the host, on either side. No default."),
    ],
    pattern: Annotated[
        str, typer.Option(metavar="TEXT", help="What to look for among what it did, in words. No default.")
    ],
    showing: Showing,
    asking: AskingEvents,
    only: FilterOptions,
) -> None:
    """Show what one host did that a text describes.

    --entity, --from, --to and the other filters choose the events; the text orders them, by meaning and by words.
    """
    shown = {"k": showing.k, "flat": showing.flat}
    arguments = {"entity": entity, "text": pattern, **shown, "filters": only.request()}
    ask.put(asking, show_hybrid, "hybrid", arguments)


def show_hybrid(answer: Mapping[str, Any]) -> None:
    """How much the host did in the window, then the patterns or events, best first."""
    found = answer["entity"]
    print_lines(f"{found['host']}: {counted(found['events'], 'event')} in the window")
    show_similar(answer)
