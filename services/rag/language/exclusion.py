"""What a question excludes: no filter can say that, and to look for its words would rank first what is not wanted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.rag.language.text import TAKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_TO_BE = r"(?:is|are|was|were|es|son|sea|sean|fue|fueron)"
_CLEARLY = (
    r"except(?: for)?|excluding|ignoring|other than|apart from|aside from|besides|but not|excepto|salvo|excluyendo|"
    r"ignorando|aparte de|(?:que )?no sean?|distint[oa]s? (?:de|a)|diferentes? (?:de|a)"
)
_PLACED = r"(?: (?:from|to|on|in|at|over|by|the|via|de|desde|a|en|el|la|por)){0,3}"
_NOT = (
    rf"(?:(?:that|which|que) )?(?:{_TO_BE} not|(?:is|are|was|were)n['\u2019]t|no {_TO_BE})|"
    r"not|no|non|without|sin|menos|que no"
)
_BEFORE = re.compile(rf"(?<!\w)(?:{_CLEARLY}|{_NOT}){_PLACED}[ -]?$")
_NEXT = re.compile(rf"(?: ?,)?(?: (?:and|or|nor|y|e|o|u|ni))?{_PLACED} ?")
# To the end of the clause.
_CLAUSE = re.compile(
    rf"(?<!\w)(?:(?P<clearly>{_CLEARLY})|{_NOT})(?!\w)(?P<what>[^,.;:?!(){TAKEN}]*[^\s,.;:?!(){TAKEN}])"
)


def excluded_at(text: str, start: int) -> int | None:
    """Where a phrase begins that excludes what begins at `start`; none where nothing does."""
    no = _BEFORE.search(text, 0, start)
    return no.start() if no else None


def is_listed(between: str) -> bool:
    """Whether what follows belongs to what was excluded: "except dns and ntp"."""
    return _NEXT.fullmatch(between) is not None


def excluding_clauses(text: str, names_a_kind: Callable[[str], bool]) -> Iterator[tuple[int, int]]:
    """The clauses that say what is not wanted, from their first character to behind the last one.

    Narratives tell what did not happen ("without sending data"), so after "not" and the like only a kind of events is
    excluded.
    """
    for match in _CLAUSE.finditer(text):
        if match["clearly"] or names_a_kind(match["what"]):
            yield match.span()


def blanked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text with `TAKEN` for each character of the spans."""
    for start, stop in spans:
        text = text[:start] + TAKEN * (stop - start) + text[stop:]
    return text
