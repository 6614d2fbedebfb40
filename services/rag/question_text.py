"""What a text of `search` asks for: filters that were understood, joined with those that were given, and the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.columns import TAGS
from services.common.errors import UsageError
from services.rag.arguments import SCORES, parse_filters, parse_time
from services.rag.language.understand import understand
from services.rag.language.understanding import ENGLISH, SPANISH, Facts, Understood

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.events.spanish import Glossary
    from services.rag.catalog import Snapshot
    from services.rag.filters import Filters
    from services.rag.operations import Question, Surroundings

# Filters that say the same kind of thing: one that is given puts all understood ones of its kind aside.
_KINDS = dict.fromkeys(("since", "until", "days"), "time") | {
    f"{end}_{score}": score for end in ("min", "max") for score in SCORES
}


@dataclass(frozen=True)
class Asked:
    """A question in words, read."""

    understood: Understood
    filters: Filters  # all that hold: those given and those understood
    words: str
    """What is looked for by meaning and by words, in English, with the names in the data that it speaks of; empty where
    nothing is left."""

    def describe(self) -> dict[str, Any]:
        """Plain values for an answer: what was understood, and the words that were searched for."""
        return {**self.understood.describe(), "searched": self.words}


def read_question(
    snapshot: Snapshot, question: Question, glossary: Glossary | None, surroundings: Surroundings
) -> Asked:
    """Read the text of a request to `search`, with its other arguments.

    Raises:
        UsageError: 'now' is no time, or a filter that was given is not allowed.
    """
    values = question.values
    text = values["text"].strip()
    understood = Understood(language=ENGLISH, rest=text)
    if values["parse"]:
        now_ns = surroundings.now_ns() if values["now"] is None else _moment(values["now"])
        understood = _without(understand(text, now_ns, facts_of(snapshot)), values["filters"])
    filters = question.bounds.filters
    if understood.filters:
        both = parse_filters({**understood.filters, **values["filters"]}, surroundings.internal)
        filters = replace(both, remarks=snapshot.remarks, decisions=snapshot.decisions)
    return Asked(understood, filters, words_of(understood, glossary))


def _moment(value: str) -> int:
    """`now`, nanoseconds since 1970."""
    try:
        return parse_time("now", value)
    except UsageError:
        raise UsageError(
            f"The argument 'now' must be a time such as 2026-01-22T14:00:00Z, not {value!r}."
        ) from None


def words_of(understood: Understood, glossary: Glossary | None) -> str:
    """What is left of the text in English, and the names in the data that it speaks of and does not say."""
    words = understood.rest
    if glossary:
        words = glossary.english(words, is_spanish=understood.language == SPANISH)
    names = [hint for hint in understood.hints if hint.casefold() not in words.casefold()]
    return " ".join((words, *names)).strip()


def facts_of(snapshot: Snapshot) -> Facts:
    """The names that the events of a snapshot hold, in the order of the alphabet."""

    def names(column: str) -> tuple[str, ...]:
        found: set[str] = set()
        for segment in snapshot.segments:
            counts = segment.tally.counts.get(column, np.empty(0))
            found.update(segment.view.texts[code] for code in np.flatnonzero(counts).tolist())
        return tuple(sorted(found - {""}))

    tags = {tag for joined in names(TAGS) for tag in joined.split(",")}
    firewalls = len(snapshot.decisions.page) > 0
    return Facts(names("class"), names("category"), names("node"), tuple(sorted(tags - {""})), firewalls)


def _without(understood: Understood, given: Mapping[str, Any]) -> Understood:
    """What was understood without the filters of a kind that was given: what a person says outright holds."""
    kinds = {_KINDS.get(key, key) for key in given}
    kept = {key: value for key, value in understood.filters.items() if _KINDS.get(key, key) not in kinds}
    if len(kept) == len(understood.filters):
        return understood
    dropped = ", ".join(key for key in understood.filters if key not in kept)
    note = f"not used, because such filters were given: {dropped}"
    return replace(understood, filters=kept, notes=(*understood.notes, note))
