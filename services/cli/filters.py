"""The filters that questions share: options of the command line, and the plain values a request carries."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from services.cli import offers
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

PANEL = "Filters (default: everything; all must hold; given several times: any of the values)"

_REQUESTED = {"klass": "class"}
"""Filters whose name in a request is a word of Python, by the name of their field."""
_SHARED = {"as_of": "--as-of", "after": "--after", "now": "--now", "entity": "--entity"}
"""Options of questions that are no filters, by the argument that they become."""
_A_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def _option(*names: str, metavar: str, text: str, offer: Callable[..., list[str]] | None = None) -> Any:
    return typer.Option(
        *names, metavar=metavar, help=text, rich_help_panel=PANEL, show_default=False, autocompletion=offer
    )


def _flag(names: str, text: str) -> Any:
    return typer.Option(names, help=text, rich_help_panel=PANEL, show_default=False)


@dataclass(frozen=True)
class FilterOptions:
    """One field per filter, named as in a request."""

    since: Annotated[
        str | None,
        _option("--from", metavar="TIME", text="Not before: ISO time (UTC unless it says otherwise) or day."),
    ] = None
    until: Annotated[
        str | None, _option("--to", metavar="TIME", text="Before this ISO time, or to the end of this day.")
    ] = None
    days: Annotated[
        list[str] | None, _option("--day", metavar="DAY", text="UTC day, YYYY-MM-DD.", offer=offers.days)
    ] = None
    hours: Annotated[
        list[str] | None,
        _option("--hours", metavar="TIMES", text="Time of any day (UTC): 08:00-18:00; 22:00-06:00 at night."),
    ] = None
    host: Annotated[
        list[str] | None,
        _option("--host", metavar="ADDRESS", text="Either side: address or network, 10.0.0.0/8."),
    ] = None
    src: Annotated[
        list[str] | None, _option("--src", metavar="ADDRESS", text="Source address or network.")
    ] = None
    dst: Annotated[
        list[str] | None, _option("--dst", metavar="ADDRESS", text="Destination address or network.")
    ] = None
    src_internal: Annotated[
        bool | None,
        _flag("--src-internal/--src-external", "Whether the source is inside (setting internal_networks)."),
    ] = None
    dst_internal: Annotated[
        bool | None, _flag("--dst-internal/--dst-external", "Whether the destination is inside.")
    ] = None
    port: Annotated[
        list[str] | None, _option("--port", metavar="PORT", text="Either side: port, or range 1-1023.")
    ] = None
    src_port: Annotated[
        list[str] | None, _option("--src-port", metavar="PORT", text="Source port or range.")
    ] = None
    dst_port: Annotated[
        list[str] | None, _option("--dst-port", metavar="PORT", text="Destination port or range.")
    ] = None
    protocol: Annotated[
        list[str] | None,
        _option(
            "--protocol", metavar="NAME", text="tcp, udp, icmp, ... or a number.", offer=offers.protocols
        ),
    ] = None
    klass: Annotated[
        list[str] | None,
        _option("--class", metavar="NAME", text="Final class, such as MALICIOUS; * for any characters."),
    ] = None
    category: Annotated[
        list[str] | None, _option("--category", metavar="NAME", text="Threat category; * for any characters.")
    ] = None
    label: Annotated[
        list[str] | None,
        _option("--label", metavar="NAME", text="Label of a data set; * for any characters."),
    ] = None
    node: Annotated[
        list[str] | None, _option("--node", metavar="NAME", text="Sensor that saw it; * for any characters.")
    ] = None
    tags: Annotated[
        list[str] | None,
        _option("--tag", metavar="NAME", text="One of the event's tags; * for any characters."),
    ] = None
    technique: Annotated[
        list[str] | None,
        _option(
            "--technique", metavar="ID", text="ATT&CK technique that the narrative names: T1046, T1021.002."
        ),
    ] = None
    source: Annotated[
        list[str] | None,
        _option(
            "--source",
            metavar="NAME",
            text="Who decided: FAST_ONLY, ML_ONLY, CONSENSUS, DIVERGENCE, ...",
            offer=offers.sources,
        ),
    ] = None
    fast_triggered: Annotated[
        bool | None, _flag("--fast-triggered/--no-fast-triggered", "Whether the fast detector fired.")
    ] = None
    feedback: Annotated[
        list[str] | None,
        _option(
            "--feedback",
            metavar="KIND",
            text="What analysts said: true_positive, false_positive, any, or none.",
            offer=offers.said,
        ),
    ] = None
    blocked: Annotated[
        bool | None,
        _flag(
            "--blocked/--not-blocked", "Whether a firewall stopped it, where one reported around that time."
        ),
    ] = None
    min_overall: Annotated[
        float | None, _option("--min-score", metavar="X", text="Overall threat score of at least X, 0 to 1.")
    ] = None
    max_overall: Annotated[float | None, _option("--max-score", metavar="X", text="... of at most X.")] = None
    min_fast: Annotated[
        float | None, _option("--min-fast", metavar="X", text="Score of the fast detector of at least X.")
    ] = None
    max_fast: Annotated[float | None, _option("--max-fast", metavar="X", text="... of at most X.")] = None
    min_ml: Annotated[
        float | None, _option("--min-ml", metavar="X", text="Score of the model of at least X.")
    ] = None
    max_ml: Annotated[float | None, _option("--max-ml", metavar="X", text="... of at most X.")] = None
    min_divergence: Annotated[
        float | None,
        _option("--min-divergence", metavar="X", text="Fast detector and model apart by at least X."),
    ] = None
    max_divergence: Annotated[
        float | None, _option("--max-divergence", metavar="X", text="... by at most X.")
    ] = None

    def request(self) -> dict[str, Any]:
        """The filters that were given, as a request carries them.

        Raises:
            UsageError: `--to` is a day that is none.
        """
        given = {_REQUESTED.get(field.name, field.name): getattr(self, field.name) for field in fields(self)}
        if self.until is not None:
            given["until"] = _end(self.until)
        return {name: value for name, value in given.items() if value is not None and value != []}


def in_options(sentence: str) -> str:
    """What a replica says of a question, with filters and arguments by the names that their options have."""
    if not sentence.startswith(("The filter ", "The argument ")):
        return sentence
    names = {**_SHARED, **_options()}
    every = 0 if sentence.startswith("The filter ") else 1  # what follows an argument quotes a receipt
    named = re.sub(r"(?<!not )'(\w+)'", lambda found: names.get(found[1], found[0]), sentence, count=every)
    return re.sub(r"^The (?:filter|argument) (-)", r"\1", named)


def _options() -> dict[str, str]:
    """The option of each filter, by the name that it has in a request."""
    hints = get_type_hints(FilterOptions, include_extras=True)
    # Within `Annotated` typer keeps the first name of an option where the default is elsewhere.
    options = {name: hint.__metadata__[0].default.partition("/")[0] for name, hint in hints.items()}
    return {_REQUESTED.get(name, name): option for name, option in options.items()}


def _end(text: str) -> str:
    """A day stands for its end, so that `--from` and `--to` the same day mean that day."""
    if not _A_DAY.fullmatch(text):
        return text
    try:
        return (date.fromisoformat(text) + timedelta(days=1)).isoformat()
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is not a day: write it as YYYY-MM-DD, for example 2026-01-22") from None
