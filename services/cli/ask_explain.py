"""The question `explain`: why events are alike or not, and what would make one benign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.answers_explain import show_explanation
from services.cli.ask import AskingEvents, EventId, put, tell
from services.cli.filters import FilterOptions  # noqa: TC001 - read when a command is made
from services.cli.options import grouped
from services.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.cli.ask import Asking, Show

MOST_OTHERS = 50


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: appia explain EVENT_ID, or appia explain EVENT_ID OTHER_ID --json")(
        grouped(explain)
    )


def explain(
    *,
    event_id: EventId,
    others: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="OTHER_ID",
            help="Ids of events to compare it with, at most 50.",
            show_default="the nearest of each behaviour",
        ),
    ] = None,
    k: Annotated[
        int,
        typer.Option(
            "-k",
            metavar="N",
            min=1,
            max=MOST_OTHERS,
            help="How many of the nearest, where no OTHER_ID is given.",
        ),
    ] = 3,
    asking: AskingEvents,
    only: FilterOptions,
) -> None:
    """Show what tells events apart, and would make one benign.

    Differences are in robust sigmas of the event's day, the largest first. The change that would make it benign is the
    smallest that the attack model shows: with it, most of the event's ten nearest neighbours would be benign; they are
    shown as evidence.
    """
    arguments: Mapping[str, Any] = {"event_id": event_id, "k": k, "filters": only.request()}
    put(asking, show_explanation, "explain", {**arguments, "others": others} if others else arguments)


def put_similar_explained(asking: AskingEvents, show: Show, arguments: Mapping[str, Any]) -> None:
    """Ask `similar`, then `explain` for the nearest event of each pattern found (or each event, where flat).

    Shows one answer after the other; as one document the second is the first's `explanation`.

    Raises:
        UsageError: a question was wrong.
        AppiaError: nothing runs, nobody answers, or what was asked for is not there.
    """
    found = similar_explained(asking, arguments)
    if asking.as_json:
        print_json(found)
        return
    explanation = found.pop("explanation")
    tell(asking, show, found)
    if explanation:
        print_lines("")
        tell(asking, show_explanation, explanation)


def similar_explained(asking: Asking, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of `similar`, with that of `explain` for what was found, or None, as its `explanation`.

    Raises as `put_similar_explained`.
    """
    from services.cli.asking import ask  # noqa: PLC0415 - `appia --help` starts quicker without it

    found = ask(asking, "similar", arguments)
    events = found["hits"] if "hits" in found else [group["examples"][0] for group in found["groups"]]
    others = [event["event_id"] for event in events[:MOST_OTHERS]]
    asked = {name: arguments[name] for name in ("event_id", "filters")}
    explanation = ask(asking, "explain", {**asked, "others": others}) if others else None
    return {**found, "explanation": explanation}
