"""Names candidates of many patterns: of each narrative only a few events.

The nearest events alone would often all be of one pattern: a flood is thousands of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from services.rag.meant import meant
from services.rag.nearest import nearest
from services.rag.patterns import EXAMPLES, narratives_of
from services.rag.sentences import SEMANTIC

if TYPE_CHECKING:
    from services.rag.nearest import Hits, Wanted
    from services.rag.queries import Vectors
    from services.rag.scope import Scope
    from services.rag.sentences import SentenceBook


@dataclass(frozen=True)
class Varied:
    """Searches for events of several patterns. Safe for several threads; a call blocks for its own search."""

    book: SentenceBook

    def nearest(self, scope: Scope, index: str, queries: Vectors, wanted: Wanted) -> Hits:
        """Events near to a question in an index, at most `EXAMPLES` of a narrative.

        In the semantic index those of the nearest `wanted.k / EXAMPLES` narratives; in another one those among the
        `wanted.k` nearest events, of which at most `EXAMPLES` of a segment have the same vector. Arguments and errors
        are those of `nearest`.
        """
        if index == SEMANTIC:
            hits = meant(scope, self.book.of(scope.snapshot), queries, wanted)
        else:
            hits = nearest(scope, index, queries, replace(wanted, alike=EXAMPLES))
        return few_of_each(scope, hits)


def few_of_each(scope: Scope, hits: Hits) -> Hits:
    """The first `EXAMPLES` hits of each narrative, in their order."""
    seen: Counter[str] = Counter()
    kept: list[bool] = []
    for text in narratives_of(scope, hits):
        kept.append(seen[text] < EXAMPLES)
        seen[text] += 1
    return hits.take(np.array(kept, bool))
