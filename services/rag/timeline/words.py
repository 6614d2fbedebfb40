"""Changes in words: one clause or more each, with the numbers that they rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.common.events.known_names import PROTOCOL_NAMES
from services.common.events.profile_words import size_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAMED = 3
"""Services that a sentence names."""

_MEASURES = {
    "out": "began {}",
    "in": "received {}",
    "bytes": "moved {}",
    "peers": "met {}",
    "new_peers": "met {} never met before",
    "ports": "{}",
    "matters": "had {} that matter",
}
_THINGS = {
    "out": "event",
    "in": "event",
    "peers": "host",
    "new_peers": "host",
    "ports": "destination port",
    "matters": "event",
}


def service_name(protocol: int, port: int, names: Mapping[int, str]) -> str:
    """What people call a destination port: "SSH (TCP port 22)"; of protocols without ports the protocol."""
    spoken = PROTOCOL_NAMES.get(protocol, f"protocol {protocol}")
    if not port:
        return spoken
    where = f"{spoken} port {port}"
    return f"{names[port]} ({where})" if port in names else where


def first_words(hours: int) -> str:
    """A host that was not there before."""
    return f"first seen: nothing of it in {_counted(hours, 'hour')} before in which others were seen"


def service_words(found: Sequence[tuple[int, int]], names: Mapping[int, str], *, out: bool) -> str:
    """Services, each a protocol and a port, that were used (`out`) or reached for the first time."""
    told = ", ".join(service_name(protocol, port, names) for protocol, port in found[:NAMED])
    more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    return f"{'used' if out else 'was reached on'} {told}{more} for the first time"


def judged_words(count: int, narrative: str, days: int | None) -> str:
    """Events that matter, after some days without; None where there were none before."""
    since = "the first" if days is None else f"the first in {_counted(days, 'day')}"
    return f"{_counted(count, 'event')} that {'matters' if count == 1 else 'matter'}, {since}: {narrative}"


def measure_words(kind: str, measures: Sequence[Mapping[str, Any]], hours: int) -> str:
    """What was far above or below what is usual, the most unusual first."""
    told = "; ".join(_measure_words(measure) for measure in measures)
    lasted = f", at most, in each of {hours} hours" if kind == "fall" and hours > 1 else ""
    lasted = f" in the strongest of {hours} hours" if kind == "rise" and hours > 1 else lasted
    return f"{'only ' if kind == 'fall' else ''}{told}{lasted}"


def _measure_words(measure: Mapping[str, Any]) -> str:
    name = measure["measure"]
    if name == "bytes":
        value, usual = size_words(measure["value"]), size_words(measure["usual"])
    else:
        value, usual = _counted(measure["value"], _THINGS[name]), f"{measure['usual']:,.0f}"
    return f"{_MEASURES[name].format(value)} (usually {usual}: {abs(measure['sigmas']):,.0f} sigmas)"


def hour_words(hour: int, days: int) -> str:
    """A time of day that is new."""
    return f"active between {hour:02d}:00 and {(hour + 1) % 24:02d}:00 UTC, never before on {_counted(days, 'day')}"


def silence_words(hours: int, longest: int, *, over: bool) -> str:
    """A silence longer than those before."""
    before = (
        f"silences before were of {_counted(longest, 'hour')} at most" if longest else "never silent before"
    )
    return f"silent for {_counted(hours, 'hour')} in which others were seen{'' if over else ', and still'}; {before}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
