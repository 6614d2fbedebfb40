"""What firewalls decided about the events of an answer, as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.event_words import events_in, moment

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))
_FIRST_UNIT_AT = 2
"""A duration is told in the largest unit of which it has at least so many: 90 min, 2 h."""


def decision_lines(answer: Mapping[str, Any]) -> list[str]:
    """The decision that stands for each event of an answer, one line an event, each event once."""
    lines = [
        f"{event['event_id']}: {_words(event['blocked'], event['decision'])}"
        for event in events_in(answer)
        if "decision" in event
    ]
    return list(dict.fromkeys(lines))


def _words(state: str, decision: Mapping[str, Any]) -> str:
    verb = "blocked" if state == "yes" else "decided on, without an action,"
    assumed = ", assumed" if decision["end_is_assumed"] else ""
    until = f"until {moment(decision['until'])} ({span(decision['lasts_s'])}{assumed})"
    about = f"{decision['side']} {decision['address']}"
    told = [decision["action"], decision["kind"], _sure(decision["confidence"]), decision["reason"]]
    more = ", ".join(part for part in told if part)
    return f"{verb} {_when(decision['after_s'])}, {until}, {about}{': ' if more else ''}{more}"


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
