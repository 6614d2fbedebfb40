"""Takes from an answer what could mislead a language model that reads it: hidden characters, and endless texts.

Whoever sends traffic chooses words that end up in events. What is visible stays, so that nothing is lost to a person.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

MAX_CHARS = 1000
"""Characters of one text that are kept; a narrative has a few hundred."""
HIDDEN = "\ufffd"
"""Stands where hidden characters stood, one for each run of them."""

# Default_Ignorable_Code_Point of Unicode 16 (DerivedCoreProperties.txt) that `str.isprintable` takes for printable:
# fillers and the selectors of variations, which can carry whole messages unseen. First and last of each range.
_INVISIBLE = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xE0100, 0xE01EF),
)
_FIRST = tuple(first for first, _ in _INVISIBLE)


def visible(text: str) -> str:
    """`text` without controls, marks that reverse the direction, zero-width characters, tags and the like.

    A run of them becomes one U+FFFD, or a space where it ends a line or is one. `str.isprintable` is false for the
    categories Other and Separator of Unicode but for the space.
    """
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    for char in text:
        if char.isprintable() and not _is_invisible(ord(char)):
            shown.append(char)
        elif char.isspace():
            shown.append(" ")
        elif not shown or shown[-1] != HIDDEN:
            shown.append(HIDDEN)
    return "".join(shown)


def shortened(text: str) -> str:
    """At most `MAX_CHARS` characters of a text, and how many more there were."""
    more = len(text) - MAX_CHARS
    return text if more <= 0 else f"{text[:MAX_CHARS]}… ({more} more characters)"


def harmless(value: Any, *, whole: bool = False) -> Any:
    """A copy of a value of JSON whose texts, keys included, are `visible` and, but for `whole` ones, `shortened`."""
    if isinstance(value, str):
        text = visible(value)
        return text if whole else shortened(text)
    if isinstance(value, list):
        return [harmless(one, whole=whole) for one in value]
    if not isinstance(value, dict):
        return value
    copy: dict[str, Any] = {}
    for key, one in value.items():
        name = shortened(visible(str(key)))
        while name in copy:  # two keys that differ in nothing that can be seen
            name += HIDDEN
        copy[name] = harmless(one, whole=whole)
    return copy


def _is_invisible(code: int) -> bool:
    place = bisect_right(_FIRST, code) - 1
    return place >= 0 and code <= _INVISIBLE[place][1]
