"""Questions in Spanish, put into the English words of the narratives: a file people edit (docs/narratives.md).

The sentence model was trained in English. A word-by-word glossary is no translation, but a narrative is little more
than its words: what it says stands in a small vocabulary, and that is what a question has to meet.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping
    from pathlib import Path

# A word, with what belongs into an address or a name in the middle of it.
_WORD = re.compile(r"\w+(?:[-.:/]\w+)*")


@dataclass(frozen=True)
class Glossary:
    """Entries of one or several words, plain (`plain_word`), and what they are in English.

    `words` are all single words of the entries; `proofs` those that tell that a question is Spanish.
    """

    entries: Mapping[tuple[str, ...], str]
    words: frozenset[str]
    proofs: frozenset[str]
    longest: int

    def english(self, text: str, *, is_spanish: bool = False) -> str:
        """A question in English words; one that is not in Spanish comes back as it is.

        Spanish is what has a word that only Spanish has, and not more unknown words than known ones. Names such as
        HTTP, and what has a digit, are the same in each language and do not count. `is_spanish` says that it is
        known to be, as for what is left of a longer text.
        """
        words = _WORD.findall(text)
        known = [_entry_form(plain_word(word), self.words) for word in words]
        found = [word for word in known if word]
        strange = sum(not form and not _is_name(word) for word, form in zip(words, known, strict=True))
        if not is_spanish and (strange > len(found) or not self.proofs.intersection(found)):
            return text
        return " ".join(part for part in self._parts(words, known) if part) or text

    def _parts(self, words: list[str], known: list[str]) -> Iterator[str]:
        """From left to right the English of the longest entry that begins here, or the word as it is."""
        place = 0
        while place < len(words):
            for length in range(min(self.longest, len(words) - place), 0, -1):
                entry = tuple(known[place : place + length])
                if entry in self.entries:
                    yield self.entries[entry]
                    break
            else:
                length = 1
                yield words[place]
            place += length


def plain_word(word: str) -> str:
    """A word in small letters and without accents: "Contraseña" becomes "contrasena"."""
    parts = unicodedata.normalize("NFKD", word.casefold())
    return "".join(char for char in parts if not unicodedata.combining(char))


def _is_name(word: str) -> bool:
    return word.isupper() or any(char.isdigit() for char in word)


def _entry_form(word: str, words: Container[str]) -> str:
    """The form of a word that is among `words`: as it is, the singular, the masculine; empty where none is."""
    return next((form for form in _forms(word) if form in words), "")


def _forms(word: str) -> Iterator[str]:
    """What the glossary may have a word under: as it is, then the singulars, each also in the masculine."""
    singulars = [word]
    singulars += [word[:-1]] if word.endswith("s") else []
    singulars += [word[:-2]] if word.endswith("es") else []
    for form in singulars:
        yield form
        if form.endswith("a"):
            yield f"{form[:-1]}o"


def load_glossary(path: Path | None = None) -> Glossary:
    """Read a glossary file, or the one that comes with the program.

    Raises `AppiaError` where the file cannot be read or an entry is wrong; it names the entry.
    """
    source = files("services.common.events").joinpath("spanish.toml") if path is None else path
    try:
        document = tomllib.loads(source.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise AppiaError(f"The glossary {source} cannot be read: {error}.") from error
    try:
        return _glossary(document)
    except ValueError as error:
        raise AppiaError(f"The glossary {source} is wrong: {error}.") from error


def _glossary(document: Mapping[str, Any]) -> Glossary:
    said = {_plain(spanish): english for spanish, english in document.get("words", {}).items()}
    said |= {_plain(word): "" for word in _texts(document, "small")}
    single = {entry[0] for entry in said if len(entry) == 1}
    entries: dict[tuple[str, ...], str] = {}
    for plain, english in said.items():
        if not plain or not isinstance(english, str):
            raise ValueError(f"the entry {' '.join(plain)!r} needs a word, and a text")
        entries[tuple(_entry_form(word, single) or word for word in plain)] = english
    shared = {plain_word(word) for word in _texts(document, "english_too")}
    # What stands in the English of any entry proves nothing either: "servidor web" is an "HTTP web server".
    shared |= {word for english in entries.values() for word in english.casefold().split()}
    words = frozenset(word for entry in entries for word in entry)
    return Glossary(entries, words, words - shared, max(map(len, entries), default=0))


def _plain(text: str) -> tuple[str, ...]:
    return tuple(plain_word(word) for word in _WORD.findall(text))


def _texts(document: Mapping[str, Any], name: str) -> list[str]:
    found = document.get(name, [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ValueError(f"{name} must be a list of texts")
    return found
