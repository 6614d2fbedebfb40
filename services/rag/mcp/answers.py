"""Makes of an answer what a tool gives: it whole but harmless and of bounded size, and a short text of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mcp.types import CallToolResult, TextContent

from services.rag.mcp.texts import text_of
from services.rag.mcp.tools import NOTICE
from services.rag.untrusted import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ANSWER = 256 << 10
"""Bytes of a structured answer as JSON; more than this no assistant can read at once."""
_NOTE = 64  # bytes of `left_out`


def result_of(answer: Mapping[str, Any], nonce: str) -> CallToolResult:
    """The answer of a replica as the result of a tool; `nonce` as of `text_of`."""
    clean = fitted({key: harmless(value, whole=key == "receipt") for key, value in answer.items()})
    return CallToolResult(
        content=[TextContent(text=text_of(clean, nonce))], structured_content={"notice": NOTICE, **clean}
    )


def refusal_of(sentence: str) -> CallToolResult:
    """Why there is no answer: the assistant reads it and can ask better."""
    return CallToolResult(content=[TextContent(text=harmless(sentence))], is_error=True)


def fitted(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without the last entries of its largest list where it is too large; `left_out` says how many.

    It has no `next` then: the next page begins after the entries that were left out.
    """
    sizes = {key: _size(value) for key, value in answer.items() if isinstance(value, list)}
    over = _size(answer) - MAX_ANSWER
    if over <= 0 or not sizes:
        return answer
    largest = max(sizes, key=sizes.__getitem__)
    kept, over = list(answer[largest]), over + _NOTE
    while over > 0 and kept:
        over -= _size(kept.pop())
    left_out = {largest: len(answer[largest]) - len(kept)}
    return {key: value for key, value in answer.items() if key != "next"} | {
        largest: kept,
        "left_out": left_out,
    }


def _size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")))
