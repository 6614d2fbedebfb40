"""What firewalls decided about the events of an answer, as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.event_words import events_in, moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))
_FIRST_UNIT_AT = 2
"""A duration is told in the largest unit of which it has at least so many: 90 min, 2 h."""


def decision_lines(answer: Mapping[str, Any]) -> list[str]:
    """The decisions that stand for the events of an answer, one line each, with the first of its events."""
    decided: dict[tuple[object, ...], dict[str, Mapping[str, Any]]] = {}
    for event in events_in(answer):
        if "decision" in event:
            told = {key: value for key, value in event["decision"].items() if key != "after_s"}
            decided.setdefault(tuple(told.items()), {})[event["event_id"]] = event
    return [_line(list(events.values())) for events in decided.values()]


def _line(events: Sequence[Mapping[str, Any]]) -> str:
    """One decision, and the events that it stands for."""
    first = events[0]
    decision = first["decision"]
    if len(events) == 1:
        who, when = first["event_id"], _when(decision["after_s"])
    else:
        who, when = f"{first['event_id']} and {len(events) - 1:,} more", f"at {moment(decision['time'])}"
    verb = "blocked" if first["blocked"] == "yes" else "decided on, without an action,"
    assumed = ", assumed" if decision["end_is_assumed"] else ""
    until = f"until {moment(decision['until'])} ({span(decision['lasts_s'])}{assumed})"
    told = [decision["action"], decision["kind"], _sure(decision["confidence"]), decision["reason"]]
    more = ", ".join(part for part in told if part)
    about = f"{decision['side']} {decision['address']}"
    return f"{who}: {verb} {when}, {until}, {about}{': ' if more else ''}{more}"


def _when(after_s: float) -> str:
    if after_s < 0:
        return f"since {span(-after_s)} before"
    return f"{span(after_s)} after" if after_s else "at that moment"


def _sure(confidence: float | None) -> str:
    return f"{confidence:.2f} sure" if confidence else ""


def span(seconds: float) -> str:
    """A length of time in one unit, with three figures at most where it is below a minute."""
    for unit, size in _UNITS:
        if seconds >= _FIRST_UNIT_AT * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.3g} s"
