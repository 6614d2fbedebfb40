"""What an answer was given as of, what `--as-of` takes, quoted for a shell, or where to find it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_SHOWN = 200
"""Characters; the name of very many different days is longer, and nobody copies it by hand."""


def as_of_lines(answer: Mapping[str, Any]) -> list[str]:
    """The moment of an answer, then why asking again as of it may answer otherwise; nothing where it has none."""
    receipt = answer.get("receipt", {})
    name = receipt.get("as_of")
    if name is None:
        return []
    line = (
        f"as of {shlex.quote(name)}"
        if len(name) <= MOST_SHOWN
        else "as of: see as_of in the receipt that --json prints"
    )
    doubts = receipt["unrepeatable"]
    return [line, f"may not come again: {'; '.join(doubts)}"] if doubts else [line]
