"""What was understood of a question: the types that `understand` takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ENGLISH, SPANISH = "en", "es"


@dataclass(frozen=True)
class Facts:
    """What the data holds that a question may name, as it is spelt there; empty texts do not count."""

    classes: tuple[str, ...] = ()  # final classes
    categories: tuple[str, ...] = ()  # threat categories
    nodes: tuple[str, ...] = ()  # the sensors' names
    tags: tuple[str, ...] = ()
    firewalls: bool = False  # whether any decision of a firewall is known


@dataclass(frozen=True)
class Part:
    """One phrase of the text that became filters."""

    phrase: str  # as it stands in the text
    filters: Mapping[str, Any]  # in the form of a request
    sentence: str  # what the filters mean, for a person; English, a clause without a full stop


@dataclass(frozen=True)
class Understood:
    """What a text means."""

    language: str  # ENGLISH or SPANISH
    parts: tuple[Part, ...] = ()  # in the order of the text
    filters: Mapping[str, Any] = field(default_factory=dict)
    """All parts together, in the form of a request: `arguments.parse_filters` takes them."""
    rest: str = ""
    """What is to be looked for by meaning and by words, in the language of the text; empty where nothing is left."""
    hints: tuple[str, ...] = ()
    """Names in the data that the rest speaks of (a class, a technique): words that rank higher what has them, no
    filters, for the evidence is too weak to hide anything."""
    notes: tuple[str, ...] = ()
    """Sentences on what the text asks for and no filter can say."""

    def describe(self) -> dict[str, Any]:
        """Plain values for an answer."""
        return {
            "language": self.language,
            "filters": dict(self.filters),
            "parts": [
                {"phrase": part.phrase, "filters": dict(part.filters), "means": part.sentence}
                for part in self.parts
            ],
            "rest": self.rest,
            "notes": list(self.notes),
        }
