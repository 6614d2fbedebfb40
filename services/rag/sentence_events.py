"""The events behind sentences: which sentences events of a scope have, and the newest events of each."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from services.rag.nearest import Hits, join

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from services.rag.scope import Part, Scope
    from services.rag.sentences import Sentences

NEWEST_FIRST_NS = 1 << 62
"""Later than every event, so that "nearest in time" means "newest", and far from the ends of int64; nanoseconds."""


def present(scope: Scope, sentences: Sentences) -> NDArray[np.bool_]:
    """Which of n sentences an event of the scope has, bool (n,)."""
    if scope.is_whole:
        return np.ones(len(sentences), bool)
    found = np.zeros(len(sentences) + 1, bool)  # one more for those that were left out, whose number is -1
    for part in scope.parts:
        places = sentences.places[id(part.view)]
        if part.rows is None:
            found[places] = True
        else:
            found[places[np.flatnonzero(np.bincount(part.view.columns["narrative"][part.rows]))]] = True
    return found[:-1]


def newest_events(scope: Scope, sentences: Sentences, numbers: Iterable[int], most: int) -> Hits:
    """The newest events of a scope that have one of some sentences, at most so many, the newest first.

    Their distances are 0. Looks into the newest days first, and no farther than it has to.
    """
    wanted = np.zeros(len(sentences) + 1, bool)
    wanted[list(numbers)] = True
    found: list[Hits] = []
    newest_first = reversed(list(enumerate(scope.parts)))
    for _, of_day in groupby(newest_first, lambda numbered: numbered[1].view.day):
        for number, part in of_day:
            codes = np.flatnonzero(wanted[sentences.places[id(part.view)]])
            if len(codes):
                found.append(_newest_of(part, number, codes, most))
        if sum(len(hits.rows) for hits in found) >= most:
            break
    hits = join(found)
    return hits.take(np.lexsort((-hits.rows, -hits.parts, hits.gaps))).first(most)


def _newest_of(part: Part, number: int, codes: NDArray[np.int64], most: int) -> Hits:
    """The newest events of a part whose narrative is one of `codes`, numbers of texts."""
    told = part.view.columns["narrative"]
    if part.rows is not None:
        told = told[part.rows]
    rows = np.flatnonzero(told == codes[0] if len(codes) == 1 else _lookup(part, codes)[told])
    rows = rows if part.rows is None else part.rows[rows]
    gaps = NEWEST_FIRST_NS - np.asarray(part.view.columns["time_ns"][rows], np.int64)
    best = np.lexsort((-rows, gaps))[:most]
    return Hits(np.full(len(best), number), rows[best], gaps[best], np.zeros(len(best), np.float32))


def _lookup(part: Part, codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    lookup = np.zeros(len(part.view.texts), bool)
    lookup[codes] = True
    return lookup
