"""The question `search`: events in a person's words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from services.cli import ask
from services.cli.answers_patterns import show_similar
from services.cli.ask import AskingEvents, Showing  # noqa: TC001 - read when a command is made
from services.cli.filters import FilterOptions  # noqa: TC001 - read when a command is made
from services.cli.options import grouped


class By(StrEnum):
    """What events are ranked by."""

    FUSED = "fused"
    MEANING = "meaning"
    WORDS = "words"


@dataclass(frozen=True)
class Reading:
    """Options about how a text is read."""

    by: Annotated[
        By, typer.Option(help="Rank by the meaning of the text, by its words, or by both fused.")
    ] = By.FUSED
    no_parse: Annotated[bool, typer.Option("--no-parse", help="Turn nothing of the text into filters.")] = (
        False
    )
    now: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help='The moment that "yesterday" is said at, ISO 8601.', show_default="the clock"
        ),
    ] = None

    def request(self) -> dict[str, Any]:
        """The arguments of a request."""
        chosen = {"by": self.by.value, "parse": not self.no_parse}
        return chosen if self.now is None else {**chosen, "now": self.now}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog='Example: appia search "slow attack on the web server last Wednesday" -k 5')(
        grouped(search)
    )


def search(
    *,
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help="What to look for, in English or Spanish. Times, addresses, ports, scores and detectors in it "
            "become filters, which are shown; the rest is compared with what events are in words. No default.",
        ),
    ],
    showing: Showing,
    reading: Reading,
    asking: AskingEvents,
    only: FilterOptions,
) -> None:
    """Show the events that a text describes best."""
    shown = {"k": showing.k, "flat": showing.flat}
    arguments = {"text": text, **shown, **reading.request(), "filters": only.request()}
    ask.put(asking, show_similar, "search", arguments)
