"""How events, times and verdicts are written in answers for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.look import Style, Styled
from services.common.events.known_names import BENIGN_WORDS, PROTOCOL_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EVENT_COLUMNS = ["time (UTC)", "~from", "~to", "!class", "!category", ">!threat", "!event"]

_DOUBTFUL = ("suspicious", "unknown")
_HIGH, _RAISED = 0.8, 0.5
_BLOCKED = {"yes": Style.GOOD, "unknown": Style.QUIET}


def event_columns(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of events; with whether each was blocked, where firewalls reported at all."""
    told = ["!blocked"] if any("blocked" in event for event in events) else []
    return [*EVENT_COLUMNS[:-1], *told, EVENT_COLUMNS[-1]]


def event_cells(event: Mapping[str, Any]) -> list[object]:
    """A row of `event_columns`."""
    kind, category = event["class"], event["category"]
    return [
        moment(event["time"]),
        endpoint(event, "src"),
        f"{endpoint(event, 'dst')} {protocol(event)}",
        verdict_cell(kind),
        verdict_cell(category if category != kind else ""),
        score_cell(event["overall"]),
        *([Styled(event["blocked"], _BLOCKED.get(event["blocked"]))] if "blocked" in event else ()),
        event["event_id"],
    ]


def event_line(event: Mapping[str, Any]) -> str:
    """An event in one line, its id first."""
    told = " ".join(dict.fromkeys(text for text in (event["class"], event["category"]) if text))
    return (
        f"{event['event_id']}: {moment(event['time'])} {endpoint(event, 'src')} to {endpoint(event, 'dst')} "
        f"{protocol(event)}{', ' if told else ''}{told}"
    )


def events_in(answer: object) -> Iterator[Mapping[str, Any]]:
    """Every event that an answer shows, wherever it stands: as often as it does, in that order."""
    if isinstance(answer, dict):
        if "event_id" in answer:
            yield answer
        for value in answer.values():
            yield from events_in(value)
    elif isinstance(answer, list):
        for value in answer:
            yield from events_in(value)


def moment(text: object) -> str:
    """An ISO time to the second, without its zone, which is UTC."""
    return str(text).replace("T", " ")[:19]


def endpoint(event: Mapping[str, Any], side: str) -> str:
    """Address and port of the side `src` or `dst`; an IPv6 address stands in brackets (RFC 3986, 3.2.2)."""
    address = str(event[f"{side}_ip"])
    return f"[{address}]:{event[f'{side}_port']}" if ":" in address else f"{address}:{event[f'{side}_port']}"


def protocol(event: Mapping[str, Any]) -> str:
    """The protocol by its name, where it has one here."""
    return str(PROTOCOL_NAMES.get(event["protocol"], event["protocol"])).lower()


def verdict_cell(text: object) -> Styled:
    """A class or category: what is harmless and what is not can be told apart at a glance."""
    known = str(text).casefold()
    if not known:
        return Styled("", None)
    if known in BENIGN_WORDS:
        return Styled(text, Style.GOOD)
    return Styled(text, Style.DOUBTFUL if known in _DOUBTFUL else Style.BAD)


def score_cell(value: float) -> Styled:
    """A threat score from 0 to 1."""
    style = Style.BAD if value >= _HIGH else Style.DOUBTFUL if value >= _RAISED else None
    return Styled(f"{value:.2f}", style)
