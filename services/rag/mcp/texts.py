"""An answer as a short text for a language model: a line of JSON for each thing, in a fence no event can close."""

from __future__ import annotations

import json
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from services.rag.mcp.tools import NOTICE
from services.rag.shown import change_events

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_TEXT = 16_384
"""Characters of the fenced lines of a text."""
_WHERE = frozenset({"day", "segment", "row", "index", "model", "scores", "threshold", "divergence"})
"""What is asked of an event last: where it lies, and numbers behind its score."""
_OF_EXAMPLES = (
    *("event_id", "time", "src_ip", "src_port", "dst_ip", "dst_port", "protocol"),
    *("class", "category", "overall", "blocked", "decision", "feedback", "enrichment", "narrative"),
)
"""What is said of an event that stands for others."""
_DAYS_NAMED, _MISSING_NAMED, _MAX_AS_OF = 3, 5, 512


def text_of(answer: Mapping[str, Any], nonce: str) -> str:
    """The text of an answer whose texts are harmless; `nonce` is a random word that nobody could know before.

    The fence holds because each line inside is JSON, which has no line breaks, and ends with the nonce.
    """
    lines = "\n".join(line for part in _parts(answer) for line in part)
    return f"{NOTICE}\n<<<data {nonce}\n{lines}\n{nonce} data>>>"


def _parts(answer: Mapping[str, Any]) -> Iterator[list[str]]:
    """The lines of each part of an answer in its order, each with its share of the room."""
    parts = {key: _lines(key, value) for key, value in _brief(answer).items()}
    rooms = _shares({key: sum(map(len, lines)) for key, lines in parts.items()})
    for key, lines in parts.items():
        yield _within(lines, rooms[key])


def _brief(answer: Mapping[str, Any]) -> dict[str, Any]:
    parts: dict[str, Any] = _without_nothing(_said_once(_exemplified(change_events(dict(answer), _event))))
    parts["receipt"] = _receipt(answer["receipt"])
    return parts


def _event(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in _WHERE}


def _exemplified(value: Any) -> Any:
    """With what has to be said of examples, and without numbers behind the score of what they are examples of."""
    if isinstance(value, list):
        return [_exemplified(one) for one in value]
    if not isinstance(value, dict):
        return value
    copy = {key: _exemplified(one) for key, one in value.items()}
    if not isinstance(copy.get("examples"), list):
        return copy
    copy["examples"] = [_example(one) for one in copy["examples"]]
    return {key: one for key, one in copy.items() if key == "day" or key not in _WHERE}


def _example(event: Any) -> Any:
    return {key: event[key] for key in _OF_EXAMPLES if key in event} if isinstance(event, dict) else event


def _said_once(value: Any, narrative: Any = None) -> Any:
    """Without the narrative of what stands inside something of the same narrative."""
    if isinstance(value, list):
        return [_said_once(one, narrative) for one in value]
    if not isinstance(value, dict):
        return value
    own = value.get("narrative")
    return {
        key: _said_once(one, own or narrative)
        for key, one in value.items()
        if key != "narrative" or own is None or own != narrative
    }


def _without_nothing(value: Any) -> Any:
    """Without what is empty, and with four decimals."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, list):
        return [_without_nothing(one) for one in value]
    if isinstance(value, dict):
        return {key: _without_nothing(one) for key, one in value.items() if one not in (None, "", [], {})}
    return value


def _receipt(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be said of it; the whole receipt is in the structured answer."""
    days, missing = receipt["days"], receipt["missing"]
    said = {
        "rows": receipt["rows"],
        "days": days if len(days) <= _DAYS_NAMED else f"{days[0]} to {days[-1]}: {len(days)}",
        "missing": missing[:_MISSING_NAMED],
        "more_missing": max(len(missing) - _MISSING_NAMED, 0) or None,
        "partial": receipt["partial"],
        "newest_event": receipt["newest_event"],
        "as_of": receipt["as_of"] if len(receipt["as_of"]) <= _MAX_AS_OF else None,
    }
    return {key: value for key, value in said.items() if value is not None}


def _lines(key: str, value: Any) -> list[str]:
    things = value if isinstance(value, list) else [value]
    return [json.dumps({key: thing}, ensure_ascii=False, allow_nan=False) for thing in things]


def _shares(sizes: Mapping[str, int]) -> dict[str, int]:
    """Room for each part: small ones have what they need, and the large ones share what is left."""
    left, shares = MAX_TEXT, {}
    for place, key in enumerate(sorted(sizes, key=sizes.__getitem__)):
        shares[key] = min(sizes[key], left // (len(sizes) - place))
        left -= shares[key]
    return shares


def _within(lines: list[str], room: int) -> list[str]:
    """The first lines that have room, and how many are left out; one that has none by itself is cut."""
    whole = bisect_right(list(accumulate(map(len, lines))), room)
    kept = lines[:whole] if whole or not lines else [f"{lines[0][:room]} (cut)"]
    left_out = len(lines) - len(kept)
    return [*kept, f"({left_out} more in the structured answer)"] if left_out else kept
