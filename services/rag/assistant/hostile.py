"""Texts that attackers may have written, made fit for a line: nothing hidden in them, and of bounded length."""

from __future__ import annotations

import unicodedata

from services.rag.untrusted import visible

MOST_MARKS = 2
"""Marks on one letter that are kept; more of them climb over the lines around it."""
_MARKS = ("Mn", "Me")


def clean(text: object, limit: int) -> str:
    """`text` on one line of at most `limit` characters, the last of them "…" where some were left out.

    Controls, terminal escapes, marks that reverse the direction, zero-width and tag characters become U+FFFD, a run of
    them one; every kind of white space and every end of a line becomes one space.
    """
    # What is far beyond the limit need not be looked at: white space and hidden runs only make a text shorter.
    line = " ".join(_few_marks(visible(str(text)[: 16 * limit])).split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def clean_lines(text: str, limit: int) -> str:
    """`text` as `clean` has it, but with its lines: at most `limit` characters, no two empty lines together."""
    lines = [clean(line, limit) for line in text[: 16 * limit].splitlines()]
    kept = [line for place, line in enumerate(lines) if line or (place and lines[place - 1])]
    whole = "\n".join(kept).strip()
    return whole if len(whole) <= limit else f"{whole[: limit - 1].rstrip()}…"


def _few_marks(text: str) -> str:
    """`text` with at most `MOST_MARKS` marks on each letter."""
    if text.isascii():
        return text
    kept: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char) in _MARKS else 0
        if marks <= MOST_MARKS:
            kept.append(char)
    return "".join(kept)
