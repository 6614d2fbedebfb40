"""Answers `search`: the events that a text describes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.rag.nearest import Wanted, nearest, show_one
from services.rag.scope import Scope

if TYPE_CHECKING:
    from services.common.events.spanish import Glossary
    from services.rag.catalog import Snapshot
    from services.rag.queries import Queries
    from services.rag.scope import Bounds

SEMANTIC = "semantic"
# Later than every event, so that "nearest in time" means "newest", and far from the ends of int64.
_NEWEST_FIRST_NS = 1 << 62


@dataclass(frozen=True)
class TextSearch:
    """Searches snapshots by words. Safe for several threads; each call blocks for its own search."""

    queries: Queries
    glossary: Glossary | None = None
    """Puts questions into the English of the narratives; without one they are asked as they are."""

    def search(self, snapshot: Snapshot, text: str, bounds: Bounds) -> dict[str, Any]:
        """The events whose narratives are nearest in meaning to `text`, newest first.

        Gives {"hits", "understood", "receipt"}; `understood` are the words that were searched for, where the glossary
        made other ones of the text, else None.

        Raises:
            AppiaError: no model can be used.
            RequestError: the deadline has passed.
        """
        text = text.strip()
        scope = Scope(snapshot, bounds, (SEMANTIC,))
        words = self.glossary.english(text) if self.glossary else text
        queries = self.queries.of_text(scope, SEMANTIC, words)
        found = nearest(scope, SEMANTIC, queries, Wanted(bounds.k, _NEWEST_FIRST_NS))
        return {
            "hits": show_one(scope, SEMANTIC, found),
            "understood": None if words == text else words,
            "receipt": scope.receipt(),
        }
