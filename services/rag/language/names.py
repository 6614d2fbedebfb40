"""Names in the data: "class MALICIOUS", "category DoS", "on node core", "tagged vip"."""

from __future__ import annotations

import re
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
        "class": draft.facts.classes,
        "category": draft.facts.categories,
        "tags": draft.facts.tags,
        "node": draft.facts.nodes,
    }
    # People do not tell final classes from threat categories.
    fallback = {"class": {"category": draft.facts.categories}, "category": {"class": draft.facts.classes}}
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


def _named(text: str, lead: re.Match[str], known: Mapping[str, Sequence[str]]) -> Reading | None:
    """The longest run of words after the lead that names something in one of the fields, the first that has it."""
    words: list[re.Match[str]] = []
    stop = lead.end()
    while len(words) < _MOST_WORDS and (word := _WORDS.match(text, stop)):
        words.append(word)
        stop = word.end()
    for count in range(len(words), 0, -1):
        for key, names in known.items():
            chosen = _matching([word[1] for word in words[:count]], names, exact=key in {"tags", "node"})
            if chosen:
                sentence = f"{_SHOWN[key]} {' or '.join(chosen)}"
                return Reading(lead.start(), words[count - 1].end(), {key: chosen}, sentence)
    return None


def _matching(words: Sequence[str], names: Iterable[str], *, exact: bool) -> list[str]:
    """The names that the words say: as they are; where none does, those that have each of the words."""
    usable = [name for name in names if 0 < len(name) <= MAX_TEXT and "*" not in name]
    joined = "".join(_PARTS.findall(" ".join(words)))
    same = [name for name in usable if joined and "".join(name_words(name)) == joined]
    if same or exact:
        return same[:MAX_VALUES]
    wanted = [_english(part) for word in words for part in _PARTS.findall(word)]
    return [name for name in usable if wanted and set(wanted) <= set(name_words(name))][:MAX_VALUES]


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
        pattern = rf"\b{_NODE_LEAD} {re.escape(plain(name))}(?![\w-])"
        match = re.search(pattern, draft.plain)
        if match:
            yield Reading(*match.span(), {"node": [name]}, f"sensor {name}")
