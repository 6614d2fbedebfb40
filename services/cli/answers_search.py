"""What was understood of a question in words, as text for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def understood_lines(understood: Mapping[str, Any]) -> list[str]:
    """The filters that phrases of the text became, what was searched for, and what could not be said."""
    lines = [f"understood {part['phrase']!r}: {part['means']}" for part in understood["parts"]]
    if understood["filters"]:
        told = ", ".join(f"{key} {_value(value)}" for key, value in understood["filters"].items())
        lines.append(f"filters: {told} (--no-parse searches the text as it is)")
    if understood["parts"] or understood["searched"] != understood["rest"]:
        lines.append(f"searched for: {understood['searched'] or 'nothing more, the newest come first'}")
    return [*lines, *(f"note: {note}" for note in understood["notes"])]


def _value(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return " or ".join(one if isinstance(one, str) else json.dumps(one) for one in values)
