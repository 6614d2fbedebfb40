"""Answers `search`: the events that a text describes, by what was understood of it, by meaning and by words."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from services.rag.nearest import join, show
from services.rag.operations import Surroundings
from services.rag.question_text import read_question
from services.rag.scope import Scope
from services.rag.sentence_events import newest_events, present
from services.rag.sentences import SEMANTIC, SentenceBook
from services.rag.text_ranking import By, Likeness, Ranking, TextWeights, rank

if TYPE_CHECKING:
    from services.common.events.spanish import Glossary
    from services.rag.catalog import Snapshot
    from services.rag.nearest import Hits
    from services.rag.operations import Question
    from services.rag.queries import Queries
    from services.rag.question_text import Asked
    from services.rag.sentences import Sentences


@dataclass(frozen=True)
class TextSearch:
    """Searches snapshots by words. Safe for several threads; each call blocks for its own search."""

    queries: Queries
    glossary: Glossary | None = None
    """Puts questions into the English of the narratives; without one they are asked as they are."""
    weights: TextWeights = field(default_factory=TextWeights)
    surroundings: Surroundings = field(default_factory=Surroundings)
    book: SentenceBook = field(default_factory=SentenceBook)

    def search(self, snapshot: Snapshot, question: Question) -> dict[str, Any]:
        """The events whose narratives answer a text best: {"hits", "understood", "receipt"}.

        Where all of the text became filters, the newest events that pass them.

        Raises:
            UsageError: 'now' is no time.
            AppiaError: no model can be used.
            RequestError: the deadline has passed.
        """
        asked = read_question(snapshot, question, self.glossary, self.surroundings)
        by = By(question.values["by"])
        bounds = replace(question.bounds, filters=asked.filters)
        scope = Scope(snapshot, bounds, () if by is By.WORDS else (SEMANTIC,))
        ranked = self.ranked(scope, asked, by)
        hits, places = ranked.hits(bounds.k)
        facts = [ranked.facts(place, by) for place in places]
        return {
            "hits": show(scope, hits, facts),
            "understood": asked.describe(),
            "receipt": scope.receipt(),
        }

    def ranked(self, scope: Scope, asked: Asked, by: By) -> RankedEvents:
        """The sentences of a scope in the order in which they answer; none of them first where there are no words.

        Raises:
            AppiaError: no model can be used, and meaning was asked for.
        """
        sentences = self.book.of(scope.snapshot)
        among = present(scope, sentences)
        if not asked.words:
            return RankedEvents(scope, sentences, _all_alike(among), ())
        vectors = {} if by is By.WORDS else self.queries.of_text(scope, SEMANTIC, asked.words)
        _note_use(scope, sentences, tuple(vectors))
        found = sentences.words.search(" ".join((asked.words, *asked.hints)))
        likeness = Likeness(sentences.distances(vectors), found)
        return RankedEvents(scope, sentences, rank(likeness, among, by, self.weights), tuple(vectors))


@dataclass(frozen=True)
class RankedEvents:
    """The events of a scope, ranked by their sentences."""

    scope: Scope
    sentences: Sentences
    ranking: Ranking
    models: tuple[str, ...]  # ids of those that compared meanings

    def hits(self, most: int) -> tuple[Hits, list[int]]:
        """At most so many events, best first, and the place of each one's sentence in the ranking.

        Of sentences that answer equally well the newest events come first; their distances are 0.
        """
        found: list[Hits] = []
        room = most
        for _, alike in groupby(zip(self.ranking.numbers.tolist(), self.ranking.steps(), strict=True), _step):
            found.append(newest_events(self.scope, self.sentences, [number for number, _ in alike], room))
            room -= len(found[-1].rows)
            if room < 1:
                break
        hits = join(found)
        return hits, self._places(hits)

    def _places(self, hits: Hits) -> list[int]:
        place_of = {number: place for place, number in enumerate(self.ranking.numbers.tolist())}
        places = []
        for part, row in zip(hits.parts.tolist(), hits.rows.tolist(), strict=True):
            view = self.scope.parts[part].view
            places.append(place_of[int(self.sentences.places[id(view)][view.columns["narrative"][row]])])
        return places

    def facts(self, place: int, by: By) -> dict[str, Any]:
        """What is said of the events of the sentence at a place of the ranking: its score, and what it is made of."""
        ranking = self.ranking
        score = float(ranking.scores[place])
        if not ranking.parts:
            return {"index": "filters", "score": score}
        if by is By.WORDS:
            return {"index": By.WORDS.value, "score": score}
        if by is By.MEANING:
            model_id = self.models[ranking.models[place]]
            return {"index": SEMANTIC, "model": model_id, "score": score, "distance": 1.0 - score}
        scores = {name: float(values[place]) for name, values in ranking.parts.items()}
        told = {name: value for name, value in scores.items() if np.isfinite(value)}
        return {"index": By.FUSED.value, "score": score, "scores": told}


def _step(numbered: tuple[int, float]) -> float:
    return numbered[1]


def _all_alike(among: np.ndarray[Any, np.dtype[np.bool_]]) -> Ranking:
    """Every sentence at the same place: only time decides."""
    numbers = np.flatnonzero(among)
    return Ranking(numbers, np.ones(len(numbers)))


def _note_use(scope: Scope, sentences: Sentences, models: tuple[str, ...]) -> None:
    """Say in the receipt which models were used, and of which days sentences were left out."""
    for number, part in enumerate(scope.parts):
        scope.index_of(number, SEMANTIC, models)
        left_out = sentences.left_out.get(part.view.day)
        if left_out:
            scope.miss(
                part.view.day, SEMANTIC, f"{left_out} narratives of its own were left out: there are too many"
            )
