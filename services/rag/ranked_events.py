"""Events in the order of their sentences: the best ones, or the best patterns with a few events of each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from services.rag.nearest import join
from services.rag.patterns import EXAMPLES
from services.rag.sentence_events import newest_events
from services.rag.sentences import SEMANTIC
from services.rag.text_ranking import By

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from services.rag.nearest import Hits
    from services.rag.scope import Scope
    from services.rag.sentences import Sentences
    from services.rag.text_ranking import Ranking

FILTERS = "filters"
"""The `index` of what was not compared with anything, because all that was asked became filters."""
_WIDEN = 4


@dataclass(frozen=True)
class RankedEvents:
    """The events of a scope, ranked by their sentences; of sentences that answer equally well the newest come first."""

    scope: Scope
    sentences: Sentences
    ranking: Ranking
    by: By | None = None  # None where nothing was compared
    models: tuple[str, ...] = ()  # ids of those that compared meanings
    patterns: int = 0  # how many sentences events of the scope have, ranked or not

    def hits(self, most: int) -> Hits:
        """At most so many events, best first; their distances are 0."""
        found: list[Hits] = []
        room = most
        for alike in self._steps():
            found.append(newest_events(self.scope, self.sentences, alike, room))
            room -= len(found[-1].rows)
            if room < 1:
                break
        return join(found)

    def examples(self, most: int) -> Hits:
        """The newest `EXAMPLES` events of each of at most so many sentences, best first."""
        found: list[Hits] = []
        for alike in self._steps():
            numbers = self._newest_first(alike, most - len(found))
            found += [newest_events(self.scope, self.sentences, [number], EXAMPLES) for number in numbers]
            if len(found) >= most:
                break
        return join(found)

    def _steps(self) -> Iterator[list[int]]:
        """The numbers of the sentences at each place of the ranking."""
        for _, alike in groupby(
            zip(self.ranking.numbers.tolist(), self.ranking.steps(), strict=True), _score
        ):
            yield [number for number, _ in alike]

    def _newest_first(self, numbers: Sequence[int], most: int) -> Sequence[int]:
        """At most so many of some sentences, those with the newest event first."""
        if len(numbers) == 1:
            return numbers
        room = _WIDEN * most
        while True:
            hits = newest_events(self.scope, self.sentences, numbers, room)
            found = list(dict.fromkeys(self._numbers_of(hits).tolist()))
            if len(found) >= most or len(hits.rows) < room:
                return found[:most]
            room *= _WIDEN

    def _numbers_of(self, hits: Hits) -> NDArray[np.int64]:
        """The number of each event's sentence, int64 (m,)."""
        numbers = np.zeros(len(hits.rows), np.int64)
        for part in np.unique(hits.parts).tolist():
            view, here = self.scope.parts[part].view, hits.parts == part
            numbers[here] = self.sentences.places[id(view)][view.columns["narrative"][hits.rows[here]]]
        return numbers

    def places_of(self, hits: Hits) -> list[int]:
        """Where in the ranking the sentence of each event is."""
        place_of = np.zeros(len(self.sentences), np.int64)
        place_of[self.ranking.numbers] = np.arange(len(self.ranking.numbers))
        return [int(place) for place in place_of[self._numbers_of(hits)]]

    def facts(self, place: int) -> dict[str, Any]:
        """What is said of the events at a place of the ranking: their score, and what it is made of."""
        ranking = self.ranking
        score = float(ranking.scores[place])
        if self.by is None:
            return {"index": FILTERS, "score": score}
        if self.by is By.WORDS:
            return {"index": By.WORDS.value, "score": score}
        if self.by is By.MEANING:
            model_id = self.models[ranking.models[place]]
            return {"index": SEMANTIC, "model": model_id, "score": score, "distance": 1.0 - score}
        scores = {name: float(values[place]) for name, values in ranking.parts.items()}
        told = {name: value for name, value in scores.items() if np.isfinite(value)}
        return {"index": By.FUSED.value, "score": score, "scores": told}


def _score(numbered: tuple[int, float]) -> float:
    return numbered[1]
