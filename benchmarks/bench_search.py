"""How good the answers of `search` are, by nDCG@10: by words alone, by meaning alone, and fused.

The questions are those of tests/data/questions/questions.toml. They are asked of patterns: one is right when its
sentence answers the question and one of its events passes the filters that the question means. No clock is read, so
every run gives the same.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import SAMPLE, WEEK, WORK, BenchError, Report, given_data
from benchmarks.exact import opened
from benchmarks.questions import QUESTION_SET, read_question_set
from benchmarks.stack import Feeding, client_of, endpoints, running_stack, wait_visible
from services.cli.store_folder import model_store_folder
from services.common.errors import AppiaError
from services.common.events.spanish import load_glossary
from services.rag.arguments import parse_filters
from services.rag.models import StoredModels
from services.rag.operations import Question
from services.rag.protocol import OPERATIONS
from services.rag.queries import Queries
from services.rag.scope import Bounds, Scope, iso_time
from services.rag.sentence_events import present
from services.rag.text_ranking import By, TextWeights
from services.rag.text_search import TextSearch

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.questions import Asked
    from services.rag.catalog import Snapshot

PLACES = 10
DATA = {"office-day": SAMPLE, "cicids2017": WEEK}
HALVES = {"seen while rules and weights were made": False, "held out": True}


@dataclass(frozen=True)
class Way:
    """A way to search: what ranks, and whether phrases become filters."""

    name: str
    by: By
    parse: bool


WAYS = (
    Way("words (BM25)", By.WORDS, parse=True),
    Way("meaning", By.MEANING, parse=True),
    Way("**fused**", By.FUSED, parse=True),
    Way("words, text as it is", By.WORDS, parse=False),
    Way("meaning, text as it is", By.MEANING, parse=False),
    Way("fused, text as it is", By.FUSED, parse=False),
)


def main() -> None:
    """The command line."""
    options = given_data("search-quality", __doc__ or "")
    try:
        _run(options)
    except (BenchError, AppiaError) as error:
        sys.exit(f"bench_search: {error}")


def _run(options: argparse.Namespace) -> None:
    store = model_store_folder(options.models, os.environ)
    report = Report("search-quality", {"questions": QUESTION_SET.name, "places": PLACES})
    searching = TextSearch(Queries(StoredModels(store)), load_glossary(), TextWeights())
    wanted = list(DATA)[:1] if options.sample_only else list(DATA)
    for data in wanted:
        if not DATA[data].is_file():
            report.note(f"not there, and left out: {data}")
            continue
        state = _fed(DATA[data], store)
        with opened(state) as snapshot:
            _measure(report, data, Judge(snapshot, searching))
        shutil.rmtree(state)
    report.write(options.out)


def _fed(source: Path, store: Path) -> Path:
    """A state with the events of a file and the classes of their labels."""
    state = WORK / f"search-{source.name.partition('.')[0]}"
    shutil.rmtree(state, ignore_errors=True)
    with running_stack(state, models=store) as running, client_of(endpoints(running)) as client:
        fed = Feeding(state, source, "--labels", "classification").result()
        wait_visible(client, fed.stored)
    return state


def _measure(report: Report, data: str, judge: Judge) -> None:
    """Both halves of the questions that a data set answers, in English and in Spanish, by every way."""
    for half, held_out in HALVES.items():
        asked = read_question_set().half(held_out=held_out)
        judged = [(question, judge.right(question)) for question in asked if question.is_asked_of(data)]
        answered = [(question, right) for question, right in judged if right]
        rows = {
            way.name: [ndcg(judge.found(question, way), right) for question, right in answered]
            for way in WAYS
        }
        spanish = np.array([question.language == "es" for question, _ in answered], bool)
        figures = {name: _means(np.array(scores), spanish) for name, scores in rows.items()}
        key = f"{data}, {'held out' if held_out else 'seen'}"
        report.figures[key] = {"questions": len(answered), "spanish": int(spanish.sum()), **figures}
        report.add_table(
            f"{data}, questions {half}: {len(answered)}, {int(spanish.sum())} of them Spanish",
            _table(figures),
        )


def _means(scores: np.ndarray[Any, Any], spanish: np.ndarray[Any, Any]) -> dict[str, float]:
    parts = {"all": scores, "English": scores[~spanish], "Spanish": scores[spanish]}
    return {name: round(float(part.mean()), 3) for name, part in parts.items() if len(part)}


def _table(figures: dict[str, dict[str, float]]) -> Iterator[str]:
    columns = list(next(iter(figures.values())))
    yield f"| nDCG@{PLACES} | {' | '.join(columns)} |"
    yield f"| --- |{' --- |' * len(columns)}"
    for name, means in figures.items():
        yield f"| {name} | {' | '.join(f'{means[column]:.3f}' for column in columns)} |"


@dataclass(frozen=True)
class Judge:
    """Searches a snapshot, and knows what is right."""

    snapshot: Snapshot
    searching: TextSearch

    def right(self, question: Asked) -> set[str]:
        """The sentences that answer a question, of events that pass its filters."""
        scope = Scope(self.snapshot, Bounds(PLACES, parse_filters(question.filters)))
        sentences = self.searching.book.of(self.snapshot)
        passing = present(scope, sentences)
        return {
            text
            for text, number in sentences.numbers.items()
            if passing[number] and question.is_answered_by(text)
        }

    def found(self, question: Asked, way: Way) -> list[str]:
        """The sentences of the patterns that a search gives, best first."""
        raw = {
            "text": question.text,
            "k": PLACES,
            "by": way.by.value,
            "parse": way.parse,
            "now": iso_time(question.now_ns),
        }
        asked = Question(OPERATIONS["search"].read(raw), Bounds(PLACES))
        answer = self.searching.search(self.snapshot, asked)
        return [group["narrative"] for group in answer["groups"]]


def ndcg(found: Sequence[str], right: set[str]) -> float:
    """What right answers gain, less the farther down, over the gain of the best order (Jarvelin, Kekalainen 2002)."""
    discounts = 1 / np.log2(np.arange(2, PLACES + 2))
    gained = sum(discounts[place] for place, text in enumerate(found[:PLACES]) if text in right)
    return float(gained / discounts[: len(right)].sum())


if __name__ == "__main__":
    main()
