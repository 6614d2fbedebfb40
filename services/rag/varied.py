"""Nearest neighbours of many patterns: of each narrative only the few events that are nearest.

The nearest rows alone would often all be of one pattern: a flood is thousands of them. Each index therefore names few
events of each narrative, so that its list reaches others.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from services.rag.nearest import Found, join, merge, nearest_first, search_parts
from services.rag.patterns import EXAMPLES, narratives_of

if TYPE_CHECKING:
    from services.rag.nearest import Hits, Wanted
    from services.rag.queries import Vectors
    from services.rag.scope import Scope


def varied(scope: Scope, index: str, queries: Vectors, wanted: Wanted) -> Hits:
    """The events nearest to a question in an index, at most `EXAMPLES` of a narrative, the nearest first.

    Looked at are the `wanted.k` nearest rows of each segment, at most `EXAMPLES` of the same vector. Arguments and
    errors are those of `nearest`.
    """
    found = search_parts(scope, index, queries, replace(wanted, alike=EXAMPLES))
    few = [Found([few_of_each(scope, nearest_first(join(one.hits)))], one.rows) for one in found]
    everything = sum(len(hits.rows) for one in few for hits in one.hits)
    return few_of_each(scope, merge(few, everything)).first(wanted.k)


def few_of_each(scope: Scope, hits: Hits) -> Hits:
    """The first `EXAMPLES` hits of each narrative, in their order."""
    seen: Counter[str] = Counter()
    kept: list[bool] = []
    for text in narratives_of(scope, hits):
        kept.append(seen[text] < EXAMPLES)
        seen[text] += 1
    return hits.take(np.array(kept, bool))
