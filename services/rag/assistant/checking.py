"""Checks what a model said: citations must be of events that it was shown, and nothing but text passes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from services.rag.assistant.addresses import addresses_in
from services.rag.assistant.hostile import clean, clean_lines
from services.rag.assistant.links import Taken, without_links

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ANSWER = 6000
"""Characters of an answer that are shown; it was asked for 200 words."""
# What some models think aloud before they answer; templates may have written the opening tag already.
_THOUGHTS = re.compile(r"\A.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_ONE = re.compile(r"E[0-9]{1,6}", re.IGNORECASE)
_LABEL = r"E[0-9]{1,6}"
# Labels in brackets of any kind, labels that stand alone, and every other bracket.
_CITED = re.compile(
    rf"[\[(【]\s?{_LABEL}(?:(?:\s?[,;&/\u2013-]\s?|\s(?:and|y)\s|\s){_LABEL})*\s?[\])】]|\b{_LABEL}\b|[\[\]【】]",
    re.IGNORECASE,
)
_STRICT = re.compile(r"\[E[0-9]{1,6}\]")
_ROUND = str.maketrans("[]【】", "()()")
# Ids that are copied from a text without harm. What looks like a label or a name of a host is none of them.
_PLAIN_ID = re.compile(r"(?!E[0-9]+\Z)[A-Za-z0-9_@:\-]{1,128}", re.IGNORECASE)
_SPACES = re.compile(r"[ \t]{2,}| (?=[.,;:!?)])")


@dataclass(frozen=True)
class Checked:
    """What of a text may be shown."""

    text: str  # with [EVENT_ID] where an event is cited; [E1] where its id is nothing to be put into a text
    citations: tuple[tuple[str, str], ...]  # label and event id, each once, in the order of the text
    removed: Mapping[str, int]  # "labels" that stand for nothing, "links", "markup"
    addresses: tuple[str, ...] = ()  # of hosts that a model named

    @property
    def supported(self) -> bool:
        """Whether it cites anything that was found."""
        return bool(self.citations)

    def describe(self) -> dict[str, Any]:
        """The citations as plain values."""
        return {"citations": [{"label": label, "event_id": event_id} for label, event_id in self.citations]}


def check(text: str, labels: Mapping[str, str]) -> Checked:
    """What may be shown of a model's answer; `labels` are those that it was shown, with their event ids."""
    taken = Taken()
    lines = without_links(clean_lines(_THOUGHTS.sub("", text), MAX_ANSWER), taken)
    return replace(_cited(_CITED, lines, labels, taken), addresses=addresses_in(lines))


def cite(text: str, labels: Mapping[str, str]) -> Checked:
    """A text of the program's own, in which only labels stand in square brackets, with event ids in their place."""
    return _cited(_STRICT, text, labels, Taken())


def _cited(pattern: re.Pattern[str], text: str, labels: Mapping[str, str], taken: Taken) -> Checked:
    """Put event ids where labels are; labels that stand for nothing are left out and counted.

    No other bracket that `pattern` finds stays, so that nothing else looks like a citation that was checked.
    """
    cited: dict[str, str] = {}
    unknown = 0

    def put(found: re.Match[str]) -> str:
        nonlocal unknown
        named = [label.upper() for label in _ONE.findall(found[0])]
        if not named:
            return found[0].translate(_ROUND)
        known = [label for label in named if label in labels]
        unknown += len(named) - len(known)
        cited.update((label, labels[label]) for label in known)
        return " ".join(dict.fromkeys(f"[{_shown(label, labels[label])}]" for label in known))

    shown = _SPACES.sub(_narrowed, pattern.sub(put, text)).strip()
    removed = {"labels": unknown, "links": taken.links, "markup": taken.markup}
    return Checked(shown, tuple(cited.items()), removed)


def plain_field(text: object, limit: int) -> str:
    """A text of an event as it may stand in an answer: nothing in it is a link, markup or a citation."""
    return without_links(clean(text, limit), Taken()).translate(_ROUND)


def _shown(label: str, event_id: str) -> str:
    return event_id if _PLAIN_ID.fullmatch(event_id) else label


def _narrowed(found: re.Match[str]) -> str:
    return " " if len(found[0]) > 1 else ""
