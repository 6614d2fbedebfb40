"""Names in the data that a question speaks of in other words: weak evidence, which ranks and never hides."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.rag.language.names import name_words
from services.rag.language.text import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.rag.language.text import Draft

MOST_HINTS = 16
_WORD = re.compile(r"[a-z]+")
_SHORTEST = 3
# Words of many names, and of services: alone they say nothing about a class.
_COMMON_WORDS = "attack attempted based data flood force ftp http https port scan server ssh tcp the udp web"
_COMMON = frozenset(_COMMON_WORDS.split())
_TECHNIQUE = re.compile(
    r"(?<![\w.-])(?:(?:att&ck|mitre|technique|tecnica) )*\(?(t\d{4}(?:\.\d{3})?)\)?(?![\w-])"
)


def read_techniques(draft: Draft) -> Iterator[Reading]:
    """ATT&CK techniques by their number."""
    for match in _TECHNIQUE.finditer(draft.plain):
        technique = match[1].upper()
        yield Reading(*match.span(), {"technique": [technique]}, f"ATT&CK technique {technique}")


def hints_of(plain_text: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, of `names`, whose words occur in a text: all of them, or one that is not common to many names."""
    words = {_stem(word) for word in _WORD.findall(plain_text) if len(word) >= _SHORTEST}
    return tuple(name for name in names if _is_spoken_of(words, name))[:MOST_HINTS]


def _is_spoken_of(words: set[str], name: str) -> bool:
    parts = {_stem(part) for part in name_words(name) if len(part) >= _SHORTEST}
    said = {part for part in parts if any(_alike(part, word) for word in words)}
    return bool(parts) and (said == parts or bool(said - {_stem(word) for word in _COMMON}))


def _alike(one: str, other: str) -> bool:
    """Whether one is the beginning of the other and not much shorter: "bot" and "botnet", "scan" and "scanner"."""
    short, long = sorted((one, other), key=len)
    return long.startswith(short) and len(long) - len(short) <= len(short)


def _stem(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > _SHORTEST + 1 else word
