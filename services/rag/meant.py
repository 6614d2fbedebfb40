"""Names the patterns whose meaning is nearest to a question, each by a few events.

Narratives are few and the same on all days, so their vectors are compared once for all days (`SentenceBook`); only the
days nearest in time are then searched for events that have them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from services.rag.nearest import join, nearest_first, nearest_in, rows_with
from services.rag.patterns import EXAMPLES
from services.rag.sentence_events import present
from services.rag.sentences import SEMANTIC
from services.rag.text_ranking import By, Likeness, TextWeights, rank
from services.rag.words import WordHits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.common.days.vectors import VectorIndex
    from services.rag.nearest import Hits, Wanted
    from services.rag.queries import Vectors
    from services.rag.scope import Part, Scope
    from services.rag.sentences import Sentences


def meant(scope: Scope, sentences: Sentences, queries: Vectors, wanted: Wanted) -> Hits:
    """Of the `wanted.k / EXAMPLES` sentences nearest in meaning the `EXAMPLES` events each that are nearest in time.

    Args:
        scope: what to look into.
        sentences: those of its snapshot.
        queries: the question in each model of the semantic index.
        wanted: which events.

    Raises:
        RequestError: the time is over and nothing was searched.
    """
    left = _Left(sentences, _nearest_sentences(scope, sentences, queries, -(-wanted.k // EXAMPLES)))
    few = replace(wanted, alike=EXAMPLES)
    found: list[Hits] = []
    for number in sorted(range(len(scope.parts)), key=lambda n: (_gap(scope.parts[n], wanted), -n)):
        part = scope.parts[number]
        vectors = scope.index_of(number, SEMANTIC, queries)
        codes = left.codes_in(part, _gap(part, wanted))
        if vectors is None or not len(codes):
            continue
        if not scope.begin(part.view.day, SEMANTIC):
            break
        hits = _rows_of(part, number, (vectors, queries), sentences.items[id(part.view)][codes], few)
        found.append(left.take(part, hits))
    return nearest_first(join(found))


def _rows_of(
    part: Part, number: int, asked: tuple[VectorIndex, Vectors], items: NDArray[np.int64], wanted: Wanted
) -> Hits:
    """The rows of a part that have some vectors; all are searched for where one of the vectors is not known (-1)."""
    if (items < 0).any():
        return nearest_in(part, number, asked, wanted)
    return rows_with(part, number, asked, np.unique(items), wanted)


def _nearest_sentences(scope: Scope, sentences: Sentences, queries: Vectors, most: int) -> NDArray[np.int64]:
    """The numbers of the sentences that events of the scope have and that are nearest in meaning, at most so many."""
    nothing = np.zeros(len(sentences))
    likeness = Likeness(sentences.distances(queries), WordHits(nothing, nothing))
    return rank(likeness, present(scope, sentences), By.MEANING, TextWeights()).numbers[:most]


def _gap(part: Part, wanted: Wanted) -> int:
    """How far the nearest event of a part can be from the moment asked about, nanoseconds."""
    tally = part.segment.tally
    return max(tally.first_ns - wanted.moment_ns, wanted.moment_ns - tally.last_ns, 0)


class _Left:
    """Which of some sentences have fewer events than they are to be shown by; for one thread."""

    def __init__(self, sentences: Sentences, numbers: NDArray[np.int64]) -> None:
        self._places = sentences.places
        self._farthest = np.full(
            len(sentences) + 1, -1, np.int64
        )  # -1: not wanted; the last is that of other texts
        self._farthest[numbers] = np.iinfo(np.int64).max
        self._gaps: dict[int, list[int]] = {number: [] for number in numbers.tolist()}

    def codes_in(self, part: Part, gap: int) -> NDArray[np.int64]:
        """The texts of which events are wanted still of a part whose events are at least `gap` from the moment."""
        return np.flatnonzero(self._farthest[self._places[id(part.view)]] > gap)

    def take(self, part: Part, hits: Hits) -> Hits:
        """Those of the hits of a part whose sentence is wanted, all noted."""
        numbers = self._places[id(part.view)][part.view.columns["narrative"][hits.rows]]
        kept = self._farthest[numbers] >= 0
        for number, gap in zip(numbers[kept].tolist(), hits.gaps[kept].tolist(), strict=True):
            gaps = self._gaps[number] = sorted([*self._gaps[number], gap])[:EXAMPLES]
            if len(gaps) == EXAMPLES:
                self._farthest[number] = gaps[-1]
        return hits.take(kept)
