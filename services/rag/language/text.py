"""The text of a question as its readers see it: small letters without accents, character for character."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from typing import TypeAlias

    from services.rag.language.understanding import Facts

TAKEN = "\x00"
"""Stands for each character of a phrase that was read: no pattern reaches over it."""


def one_line(text: str) -> str:
    """The text without control characters, and with single spaces between its words."""
    return " ".join("".join(" " if unicodedata.category(char) == "Cc" else char for char in text).split())


def plain(text: str) -> str:
    """Small letters without accents, as long as the text: place i is that of character i."""
    return "".join(map(_plain_character, text))


def _plain_character(char: str) -> str:
    if char.isascii():
        return char.lower()
    base = unicodedata.normalize("NFKD", char.casefold())[:1]
    return base if base.isprintable() and not base.isspace() else char


@dataclass(frozen=True)
class Reading:
    """What a stretch of the text means."""

    start: int  # its first character
    stop: int  # behind its last one
    filters: Mapping[str, Any]  # in the form of a request; none where there is only a note
    sentence: str = ""  # what the filters mean
    note: str = ""  # why it is no filter: a clause whose subject is the phrase


@dataclass(frozen=True)
class Draft:
    """A question that is being read."""

    plain: str  # what earlier readers took is `TAKEN`
    language: str
    now: datetime  # UTC, without a time zone
    facts: Facts
    keys: frozenset[str] = field(default=frozenset())  # the filters that there are already

    def without(self, readings: Iterable[Reading]) -> Draft:
        """The question for the next reader."""
        left, keys = self.plain, set(self.keys)
        for reading in readings:
            left = left[: reading.start] + TAKEN * (reading.stop - reading.start) + left[reading.stop :]
            keys |= set(reading.filters)
        return Draft(left, self.language, self.now, self.facts, frozenset(keys))


if TYPE_CHECKING:
    Reader: TypeAlias = Callable[[Draft], Iterable[Reading]]
    """Finds phrases of one kind; what it gives does not overlap."""
