"""The questions: `similar`, `get`, `list`, `days` and `stats`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - read when a command is made
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import answers
from services.cli.answers_end import show_end
from services.cli.answers_patterns import show_similar
from services.cli.filters import FilterOptions  # noqa: TC001 - read when a command is made
from services.cli.options import JsonOption, StateOption, grouped
from services.cli.output import print_json
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Show = Callable[[Mapping[str, Any]], None]

MOST_EVENTS = 1000


class Index(StrEnum):
    """Where to look for what is alike."""

    FUSED = "fused"
    ATTACK = "attack"
    SEMANTIC = "semantic"
    TEMPORAL = "temporal"
    ENTITY = "entity"


class Order(StrEnum):
    """Which events a list begins with."""

    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True)
class Whom:
    """Options about whom to ask."""

    state: StateOption = None
    registry: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where replicas register: file (in DIR), or etcds://HOST:PORT/PREFIX.",
            show_default="that of the stack of --state",
        ),
    ] = None
    registry_keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            envvar="APPIA_REGISTRY_KEYS",
            help="Folder of what etcd asks for: ca.pem, login and others.",
            show_default="keys/registry of the stack of --state",
        ),
    ] = None
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENDPOINT",
            help="Ask this replica, tcp://HOST:PORT; may be given several times.",
            show_default="the replicas that are registered",
        ),
    ] = None
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="APPIA_KEY",
            help="Your key, for replicas that answer known keys only: a file of appia access new.",
            show_default="none",
        ),
    ] = None
    server_key: Annotated[
        str | None,
        typer.Option(
            "--server-key",
            metavar="KEY",
            envvar="APPIA_SERVER_KEY",
            help="The public key that replicas must have, or a file that holds it.",
            show_default="that of the registry",
        ),
    ] = None


@dataclass(frozen=True)
class Asking(Whom):
    """Options about whom to ask, for how long, as of when, and how to print the answer."""

    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=600, help="Longest wait for the answer.")
    ] = 10.0
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="TEXT",
            help="Answer from exactly what could be seen then: the `as of` of an earlier answer.",
            show_default="now",
        ),
    ] = None
    as_json: JsonOption = False

    def arguments(self) -> dict[str, Any]:
        """What these options add to the arguments of any question."""
        return {} if self.as_of is None else {"as_of": self.as_of}


@dataclass(frozen=True)
class AskingEvents(Asking):
    """Options about a question whose answer shows events."""

    enrich: Annotated[
        bool,
        typer.Option(
            "--enrich",
            help="Tell where addresses are and whose, and name services and techniques. Default: off.",
        ),
    ] = False

    def arguments(self) -> dict[str, Any]:
        """What these options add to the arguments of any question."""
        return {**super().arguments(), **({"enrich": True} if self.enrich else {})}


@dataclass(frozen=True)
class LongAsking(AskingEvents):
    """Options about a question whose answer shows events, and that may take long."""

    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=600, help="Longest wait for the answer.")
    ] = 60.0


HowMany = Annotated[
    int, typer.Option("-k", metavar="N", min=1, max=MOST_EVENTS, help="How many to show at most.")
]
EventId = Annotated[str, typer.Argument(metavar="EVENT_ID", help="An event's id. No default.")]


@dataclass(frozen=True)
class Showing:
    """Options about what is shown of what was found."""

    k: HowMany = 10
    flat: Annotated[
        bool, typer.Option("--flat", help="Show single events instead of patterns; -k then counts these.")
    ] = False


@dataclass(frozen=True)
class ShowingAlike(Showing):
    """Options about what is shown of what is alike."""

    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Say what tells the event from those found; see `appia explain`. Default: off."
        ),
    ] = False


@dataclass(frozen=True)
class Page:
    """Options about which part of a list is shown."""

    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=MOST_EVENTS, help="Events to show at most.")
    ] = 20
    order: Annotated[Order, typer.Option(help="Which come first.")] = Order.NEWEST
    after: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Go on where the page before ended, which says how; give its --as-of too.",
            show_default="from the start",
        ),
    ] = None

    def request(self) -> dict[str, Any]:
        """The arguments of a request."""
        page = {"limit": self.limit, "order": self.order.value}
        return page if self.after is None else {**page, "after": self.after}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog="Example: appia similar EVENT_ID --index attack, or appia similar IP@DAY --index entity"
    )(grouped(similar))
    app.command(epilog="Example: appia get EVENT_ID --json")(grouped(get))
    app.command("list", epilog="Example: appia list --class MALICIOUS --src 10.0.0.0/8 --limit 50")(
        grouped(list_events)
    )
    app.command(epilog="Example: appia days --state ~/appia")(grouped(days))
    app.command(epilog="Example: appia stats --json")(grouped(stats))


def similar(
    *,
    what: Annotated[
        str,
        typer.Argument(
            metavar="EVENT_ID|IP[@DAY]",
            help="An event's id; with --index entity a host, on its newest day or on DAY. No default.",
        ),
    ],
    showing: ShowingAlike,
    index: Annotated[
        Index, typer.Option(help="One index of events, all of them fused, or entity: hosts of a day.")
    ] = Index.FUSED,
    asking: AskingEvents,
    only: FilterOptions,
) -> None:
    """Show what is most like one event, or like one host.

    A pattern is all events that are the same in words: how many, from when to when, between which hosts, and up to
    three of them as examples, the most alike first.
    """
    arguments = {"index": index.value, "k": showing.k, "filters": only.request()}
    if index is Index.ENTITY:
        _refuse_for_hosts(explain=showing.explain, enrich=asking.enrich)
        put(asking, answers.show_hosts, "similar", {"host": what, **arguments})
        return
    arguments |= {"event_id": what, "flat": showing.flat}
    if showing.explain:
        from services.cli.ask_explain import put_similar_explained  # noqa: PLC0415 - it takes options from here

        put_similar_explained(asking, show_similar, arguments)
    else:
        put(asking, show_similar, "similar", arguments)


def _refuse_for_hosts(**options: bool) -> None:
    for option, given in options.items():
        if given:
            raise UsageError(
                f"--{option} is about events, and --index entity finds hosts: leave out one of them"
            )


def get(*, event_id: EventId, asking: AskingEvents) -> None:
    """Show every field of one event."""
    put(asking, answers.show_event, "get", {"event_id": event_id})


def list_events(
    *,
    page: Page,
    asking: AskingEvents,
    only: FilterOptions,
) -> None:
    """List events by time, the newest first."""
    put(asking, answers.show_events, "list", {**page.request(), "filters": only.request()})


def days(*, asking: Asking) -> None:
    """Show the days that are served, and whether they are sealed."""
    put(asking, answers.show_days, "days", {})


def stats(*, asking: Asking) -> None:
    """Count the events there are by class, category and sensor."""
    put(asking, answers.show_stats, "stats", {})


def put(asking: Asking, show: Show, op: str, arguments: Mapping[str, Any]) -> None:
    """Ask a question, and show or print the answer. Raises as `asking.ask` does."""
    from services.cli.asking import ask  # noqa: PLC0415 - `appia --help` starts quicker without it

    tell(asking, show, ask(asking, op, arguments))


def tell(asking: Asking, show: Show, answer: Mapping[str, Any]) -> None:
    """Show an answer, or print it as one document."""
    if asking.as_json:
        print_json(answer)
    else:
        show(answer)
        show_end(answer)
