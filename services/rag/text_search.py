"""Answers `search`: the events that a text describes, by what was understood of it, by meaning and by words."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from services.rag.nearest import show
from services.rag.operations import Surroundings
from services.rag.patterns import Patterns
from services.rag.question_text import read_question
from services.rag.ranked_events import RankedEvents
from services.rag.scope import Scope
from services.rag.sentence_events import present
from services.rag.sentences import SEMANTIC, SentenceBook
from services.rag.text_ranking import By, Likeness, TextWeights, all_alike, rank

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from services.common.events.spanish import Glossary
    from services.rag.catalog import Snapshot
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
    patterns: Patterns = field(default_factory=Patterns)
    book: SentenceBook = field(default_factory=SentenceBook)

    def search(self, snapshot: Snapshot, question: Question) -> dict[str, Any]:
        """The patterns of events, or flat the single events, that answer a text best.

        Gives {"groups", "patterns"} or {"hits"}, and "understood" and "receipt" (docs/search.md).
        Where all of the text became filters, these are the newest that pass them.

        Raises:
            UsageError: 'now' is no time.
            AppiaError: no model can be used.
            RequestError: the deadline has passed.
        """
        asked = read_question(snapshot, question, self.glossary, self.surroundings)
        by = By(question.values["by"])
        bounds = replace(question.bounds, filters=asked.filters)
        scope = Scope(snapshot, bounds, () if by is By.WORDS else (SEMANTIC,))
        found = self._shown(self.ranked(scope, asked, by), bounds.k, flat=question.values["flat"])
        return {**found, "understood": asked.describe(), "receipt": scope.receipt()}

    def _shown(self, ranked: RankedEvents, k: int, *, flat: bool) -> dict[str, Any]:
        """The best single events, or the best patterns with their best events."""
        hits = ranked.hits(k) if flat else ranked.examples(k)
        facts = [ranked.facts(place) for place in ranked.places_of(hits)]

        def show_some(numbers: NDArray[np.int64]) -> list[dict[str, Any]]:
            return show(ranked.scope, hits.take(numbers), [facts[number] for number in numbers.tolist()])

        if flat:
            return {"hits": show(ranked.scope, hits, facts)}
        groups = self.patterns.groups(ranked.scope, hits, show_some, k)
        return {"groups": groups, "patterns": ranked.patterns}

    def ranked(self, scope: Scope, asked: Asked, by: By) -> RankedEvents:
        """The sentences of a scope in the order in which they answer; none of them first where there are no words.

        Raises:
            AppiaError: no model can be used, and meaning was asked for.
        """
        sentences = self.book.of(scope.snapshot)
        among = present(scope, sentences)
        if not asked.words:
            return RankedEvents(scope, sentences, all_alike(among), patterns=int(among.sum()))
        vectors = {} if by is By.WORDS else self.queries.of_text(scope, SEMANTIC, asked.words)
        _note_use(scope, sentences, tuple(vectors))
        found = sentences.words.search(asked.words)
        likeness = Likeness(sentences.distances(vectors), found)
        ranking = rank(likeness, among, by, self.weights)
        return RankedEvents(scope, sentences, ranking, by, tuple(vectors), int(among.sum()))


def _note_use(scope: Scope, sentences: Sentences, models: tuple[str, ...]) -> None:
    """Say in the receipt which models were used, and of which days sentences were left out."""
    for number, part in enumerate(scope.parts):
        scope.index_of(number, SEMANTIC, models)
        left_out = sentences.left_out.get(part.view.day)
        if left_out:
            scope.miss(
                part.view.day, SEMANTIC, f"{left_out} narratives of its own were left out: there are too many"
            )
