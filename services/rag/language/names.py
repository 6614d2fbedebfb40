"""Names in the data: "class MALICIOUS", "category DoS", "on node core", "tagged vip"."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from services.rag.arguments import MAX_TEXT, MAX_VALUES
from services.rag.language.text import Reading, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from services.rag.language.text import Draft

_LEADS = {
    "class": r"(?:(?:of |de )?(?:final )?class(?:es)?|(?:classified|judged|rated)(?: as)?|verdict|(?:de )?clases?|"
    r"(?:clasificad|juzgad)[oa]s?(?: como)?|veredicto)",
    "category": r"(?:(?:of |de )?(?:threat )?categor(?:y|ies)|labell?ed(?: as)?|(?:de )?categorias?)",
    "tags": r"(?:(?:with |con )?(?:the |la )?tags?|tagged(?: as| with)?|"
    r"(?:con )?(?:la )?etiquetas?|etiquetad[oa]s?(?: como| con)?)",
    "node": r"(?:(?:(?:on|from|at|by|in|seen by|en|de|desde|por) )?(?:the |el )?(?:node|sensor|nodo)s?)",
}
_NODE_LEAD = r"(?:on|from|at|by|in|seen by|en|de|desde|por)"
_MOST_WORDS = 4
_WORDS = re.compile(r" ?([^\W_]+(?:[-_.+][^\W_]+)*)")
_PARTS = re.compile(r"[a-z]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z]{2})(?=[A-Z])")
_SHOWN = {"class": "class", "category": "category", "tags": "tag", "node": "sensor"}
# The usual verdicts in Spanish; a class of the data wins that has the word itself.
_SPANISH = {"maliciosas?": "malicious", "maliciosos?": "malicious", "benign[oa]s?": "benign",
            "sospechos[oa]s?": "suspicious", "normales": "normal"}  # fmt: skip


def read_names(draft: Draft) -> Iterator[Reading]:
    """Names that follow a word for what they are. A name alone is none."""
    known = {
        "class": _Names(draft.facts.classes),
        "category": _Names(draft.facts.categories),
        "tags": _Names(draft.facts.tags, exact=True),
        "node": _Names(draft.facts.nodes, exact=True),
    }
    # People do not tell final classes from threat categories.
    fallback = {"class": {"category": known["category"]}, "category": {"class": known["class"]}}
    left = draft
    for key, names in known.items():
        found = [
            reading
            for match in re.finditer(rf"\b{_LEADS[key]}(?=[ :=])[ :=]{{0,3}}", left.plain)
            if (reading := _named(left.plain, match, {key: names} | fallback.get(key, {})))
        ]
        yield from found
        left = left.without(found)
    yield from _nodes(left)


def _named(text: str, lead: re.Match[str], known: Mapping[str, _Names]) -> Reading | None:
    """The longest run of words after the lead that names something in one of the fields, the first that has it."""
    words: list[re.Match[str]] = []
    stop = lead.end()
    while len(words) < _MOST_WORDS and (word := _WORDS.match(text, stop)):
        words.append(word)
        stop = word.end()
    for count in range(len(words), 0, -1):
        for key, names in known.items():
            chosen = names.said_by([word[1] for word in words[:count]])
            if chosen:
                sentence = f"{_SHOWN[key]} {' or '.join(chosen)}"
                return Reading(lead.start(), words[count - 1].end(), {key: chosen}, sentence)
    return None


class _Names:
    """The names of one field by their words: there may be thousands, and a question may speak of names again and again.

    An `exact` one has to be said with all its words.
    """

    def __init__(self, names: Iterable[str], *, exact: bool = False) -> None:
        self._names = names
        self._exact = exact

    def said_by(self, words: Sequence[str]) -> list[str]:
        """The names that the words say: as they are; where none does, those that have each of the words."""
        same = self._by_all.get("".join(_PARTS.findall(" ".join(words))), [])
        if same or self._exact:
            return same[:MAX_VALUES]
        wanted = {_english(part) for word in words for part in _PARTS.findall(word)}
        having = [self._by_word.get(word, {}) for word in wanted]
        fewest = min(having, key=len, default={})
        return [name for name in fewest if all(name in some for some in having)][:MAX_VALUES]

    @cached_property
    def _words(self) -> Mapping[str, Sequence[str]]:
        return {
            name: name_words(name) for name in self._names if 0 < len(name) <= MAX_TEXT and "*" not in name
        }

    @cached_property
    def _by_all(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, words in self._words.items():
            if words:
                found.setdefault("".join(words), []).append(name)
        return found

    @cached_property
    def _by_word(self) -> Mapping[str, dict[str, None]]:
        found: dict[str, dict[str, None]] = {}
        for name, words in self._words.items():
            for word in words:
                found.setdefault(word, {})[name] = None
        return found


def _english(word: str) -> str:
    return next((english for spanish, english in _SPANISH.items() if re.fullmatch(spanish, word)), word)


def name_words(name: str) -> list[str]:
    """The words of a name, plain: "DoS-SlowHTTP" has "dos", "slow" and "http"."""
    return _PARTS.findall(plain(_CAMEL.sub(" ", name)))


def _nodes(draft: Draft) -> Iterator[Reading]:
    """A sensor whose name is no ordinary word needs only a preposition before it."""
    for name in draft.facts.nodes:
        if not re.search(r"[\d_.-]", name) or len(name) < 3 or len(name) > MAX_TEXT or "*" in name:
            continue
        spoken = plain(name)
        if spoken not in draft.plain:
            continue
        match = re.search(rf"\b{_NODE_LEAD} {re.escape(spoken)}(?![\w-])", draft.plain)
        if match:
            yield Reading(*match.span(), {"node": [name]}, f"sensor {name}")
