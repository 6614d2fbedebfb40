"""What was found, as records that a model or a summary may tell: cleaned facts, and events to cite.

The id of an event stays beside its facts and never becomes one of them: it is text that a sender chose, and whoever
reads records for an answer sees labels instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.events.known_names import PROTOCOL_NAMES
from services.rag.assistant.hostile import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Facts = Mapping[str, str | int | float]

FIELD = 80
"""Characters of one field of an event."""
WORDS = 400
"""Characters of a narrative or another sentence."""
EXAMPLES = 3
CHANGES = 10
"""Changes of a host that are told, the last ones."""


@dataclass(frozen=True)
class Example:
    """One event that can be cited."""

    event_id: str
    facts: Facts


@dataclass(frozen=True)
class Record:
    """One thing that was found: a pattern, a pattern that is new, a change of a host, or a host's totals."""

    found_by: str  # the operation
    facts: Facts
    events: tuple[Example, ...] = ()


def records_of(op: str, answer: Mapping[str, Any]) -> list[Record]:
    """The records of an answer to `search`, `novel` or `timeline`, the best first."""
    if op == "timeline":
        return _of_timeline(answer)
    return [_of_group(op, group) for group in answer["groups"]]


def _of_group(op: str, group: Mapping[str, Any]) -> Record:
    facts: dict[str, str | int | float] = {
        "events": group.get("events", group["count"]),
        "first_seen": _moment(group["first_seen"]),
        "last_seen": _moment(group["last_seen"]),
        "from": _hosts(group["hosts"]["sources"]),
        "to": _hosts(group["hosts"]["destinations"]),
        "in_words": clean(group["narrative"], WORDS),
    }
    events = list(group["examples"])
    if op == "novel":
        facts |= {"new_events": group["count"], "farther_than_percent_of_the_past": group["percentile"]}
        before = group["nearest_before"]
        facts["most_alike_before"] = "nothing" if before is None else clean(before["narrative"], WORDS)
    return Record(op, facts, tuple(_example(event) for event in events[:EXAMPLES]))


def _of_timeline(answer: Mapping[str, Any]) -> list[Record]:
    host, total = clean(answer["host"], FIELD), answer["total"]
    if not answer["hours"]:
        return []
    told: dict[str, str | int | float] = {
        "host": host,
        "events_begun": total["out"],
        "events_received": total["in"],
        "bytes": total["bytes"],
        "other_hosts": total["peers"],
        "active_hours": answer["active_hours"],
        "watched_hours": answer["watched_hours"],
        "changes": answer["changed"],
    }
    changes = [_change(host, change) for change in answer["changes"][-CHANGES:]]
    return [Record("timeline", told), *changes]


def _change(host: str, change: Mapping[str, Any]) -> Record:
    facts: dict[str, str | int | float] = {
        "host": host,
        "first_seen": _moment(change["from"]),
        "last_seen": _moment(change["to"]),
        "in_words": clean(change["sentence"], WORDS),
    }
    return Record("timeline", facts, (Example(change["event_id"], {}),))


def _example(event: Mapping[str, Any]) -> Example:
    """An event with the fields that have something to say."""
    facts: dict[str, str | int | float] = {
        "time": _moment(event["time"]),
        "from": _side(event["src_ip"], event["src_port"]),
        "to": _side(event["dst_ip"], event["dst_port"]),
        "protocol": str(PROTOCOL_NAMES.get(event["protocol"], event["protocol"])).lower(),
        "class": clean(event["class"], FIELD),
        "category": clean(event["category"], FIELD),
        "sensor_label": clean(event["label"], FIELD),
        "sensor": clean(event["node"], FIELD),
        "tags": clean(event["tags"], FIELD),
        "fast_detector_reason": clean(event["fast_reason"], FIELD),
        "threat": round(event["overall"], 2),
        "divergence": round(event["divergence"], 2),
        "blocked_by_a_firewall": _blocked(event),
        "analysts": _remarks(event.get("feedback", ())),
    }
    return Example(event["event_id"], {name: value for name, value in facts.items() if value != ""})


def _blocked(event: Mapping[str, Any]) -> str:
    """Whether a firewall stopped an event, and when and why; empty where none ever reported."""
    if "decision" not in event:
        return str(event.get("blocked", ""))
    decision = event["decision"]
    said = (f"decided {_moment(decision['time'])}", decision["action"], decision["kind"], decision["reason"])
    return clean("; ".join((event["blocked"], *filter(None, said))), 2 * FIELD)


def _remarks(remarks: Sequence[Mapping[str, Any]]) -> str:
    """What analysts said of an event."""
    said = (f"{remark['verdict'] or 'note'}: {remark['note']}".removesuffix(": ") for remark in remarks)
    return clean("; ".join(said), 2 * FIELD)


def _hosts(side: Mapping[str, Any]) -> str:
    """The most frequent host of one side, and how many others there are."""
    first, others = clean(side["most"][0]["address"], FIELD), side["count"] - 1
    return f"{first} and {'at least ' if side['at_least'] else ''}{others:,} more" if others else first


def _side(address: str, port: int) -> str:
    address = clean(address, FIELD)
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _moment(text: str) -> str:
    """A time as people write it, to the second, UTC."""
    return clean(text, FIELD).replace("T", " ")[:19]
