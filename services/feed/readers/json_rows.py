"""A line of JSON as a row of named texts, so that the tables serve JSON as they serve CSV."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from services.feed.readers.port import RowRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 8
ESCAPED_SURROGATE = r"\ud"


def parse_object(text: str) -> dict[str, Any]:
    """Return the JSON object that a line holds.

    Raises:
        RowRefusedError: bad_json.
    """
    try:
        value = json.loads(text)
        if ESCAPED_SURROGATE in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair fits no protobuf string
    except (ValueError, RecursionError) as error:
        raise RowRefusedError("bad_json", f"the line is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RowRefusedError("bad_json", f"the line is no JSON object but {type(value).__name__}")
    return value


def flat(value: dict[str, Any]) -> dict[str, str]:
    """Return dotted names and texts: {"flow": {"age": 1}} is {"flow.age": "1"}; what is null is left out."""
    return dict(_flat(value, "", DEEPEST))


def _flat(value: dict[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    for key, member in value.items():
        if isinstance(member, dict) and depth:
            yield from _flat(member, f"{prefix}{key}.", depth - 1)
        elif member is not None:
            yield f"{prefix}{key}", _text(member)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(member, str) for member in value):
        return ",".join(value)
    return json.dumps(value)
