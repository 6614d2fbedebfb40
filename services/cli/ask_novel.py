"""`appia novel`: what was unlike everything before."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from services.cli.answers_novel import show_novel
from services.cli.ask import MOST_EVENTS, LongAsking, put
from services.cli.filters import FilterOptions  # noqa: TC001 - read when a command is made
from services.cli.options import grouped


class Space(StrEnum):
    """Where events are compared."""

    FUSED = "fused"
    ATTACK = "attack"
    SEMANTIC = "semantic"
    TEMPORAL = "temporal"


@dataclass(frozen=True)
class Measure:
    """What is novel."""

    last_days: Annotated[
        int,
        typer.Option(
            "--days", metavar="N", min=1, max=366, help="The last N days, up to the newest event or --to."
        ),
    ] = 1
    index: Annotated[
        Space, typer.Option(help="Far in one index, or fused: in any, as measured over all of them.")
    ] = Space.FUSED
    percentile: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=90,
            max=100,
            help="Novel is what is farther from everything before it than P percent of past events were.",
            show_default="99.9, or what `appia config get rag.novel_percentile` says",
        ),
    ] = None


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: appia novel --days 7 --dst 10.0.0.0/8 -k 20")(grouped(novel))


def novel(
    *,
    measure: Measure,
    k: Annotated[
        int, typer.Option("-k", metavar="N", min=1, max=MOST_EVENTS, help="Patterns to show at most.")
    ] = 10,
    asking: LongAsking,
    only: FilterOptions,
) -> None:
    """Show what was unlike everything before.

    Each event of the last days is compared with all events of the days before its own. Filters choose which events are
    shown, not what counts as before. The first question about a day may take some seconds; what was found out is kept
    for the next one.
    """
    arguments = {
        "days": measure.last_days,
        "index": measure.index.value,
        "k": k,
        "percentile": measure.percentile,
        "filters": only.request(),
    }
    put(asking, show_novel, "novel", arguments)
