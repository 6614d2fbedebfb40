"""Measures the semantic index without a clock: how many sentences data sets have, 8 against 32 bits, and questions.

Data sets that are not in `../shared/data` are left out, and the result says so.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from benchmarks.common import BenchError, Report, given_data
from benchmarks.narratives import DATA_SETS, embed_all, exact_texts, read_questions, tell
from services.cli.store_folder import model_store_folder
from services.common.embedding.onnx import OnnxSettings, OnnxTexts
from services.common.embedding.store import ModelStore
from services.common.errors import AppiaError
from services.common.events.spanish import load_glossary
from services.feed.readers.port import LabelMode
from services.training.sentence_model import agreement, nearest

if TYPE_CHECKING:
    import argparse

    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.narratives import DataSet, Told

NEAREST = 10
# Narratives compared of each data set, evenly spaced in their order.
COMPARED = 400


def main() -> None:
    """The command line."""
    options = given_data("semantic", __doc__ or "")
    try:
        _run(options)
    except (BenchError, AppiaError) as error:
        sys.exit(f"bench_semantic: {error}")


def _run(options: argparse.Namespace) -> None:
    stored = ModelStore(model_store_folder(options.models, os.environ)).load("semantic")
    small, exact = OnnxTexts(stored, OnnxSettings()), exact_texts(stored)
    report = Report("semantic", {"model": stored.manifest.model_id, "nearest": NEAREST})
    wanted = DATA_SETS[:1] if options.sample_only else DATA_SETS
    missing = [data.name for data in wanted if not data.path.is_file()]
    if missing:
        report.note(f"not there, and left out: {', '.join(missing)}")
    told = {data.name: _count(report, data) for data in wanted if data.path.is_file()}
    _compare(report, told, small, exact)
    sample = told[DATA_SETS[0].name]
    _ask(report, {"8 bits": embed_all(small, sample), "32 bits": embed_all(exact, sample)})
    report.write(options.out)


def _count(report: Report, data: DataSet) -> list[str]:
    """Count the sentences of a data set; give the different ones as they are told with labels."""
    plain = tell(data, LabelMode.NONE)
    judged = sorted(set(tell(data, LabelMode.CLASSIFICATION)))
    figures = {"events": len(plain), "unjudged": len(set(plain)), "with_labels": len(judged)}
    report.add(
        f"narratives of {data.name}",
        figures,
        f"{data.name}: {len(plain):,} events make {figures['unjudged']:,} different narratives without labels, "
        f"{len(judged):,} with the labels it has",
    )
    return judged


def _compare(report: Report, told: dict[str, list[str]], small: OnnxTexts, exact: OnnxTexts) -> None:
    """8 against 32 bits: the cosine of a narrative with itself, and the nearest of narratives and of questions."""
    questions = [words for part in read_questions().values() for q in part for words in (q.en, q.es)]
    asked = small.embed(questions), exact.embed(questions)
    for name, narratives in told.items():
        some = narratives[:: max(1, len(narratives) // COMPARED)]
        figures = _agreement((small.embed(some), exact.embed(some)), asked)
        report.add(
            f"8 against 32 bits on {name}",
            {"narratives": len(some), "questions": len(questions)} | figures,
            f"8 against 32 bits on {len(some)} narratives of {name}: cosine {figures['cosine_mean']:.4f} on average, "
            f"{figures['cosine_least']:.4f} at least; of the {NEAREST} nearest narratives "
            f"{figures['nearest_to_narratives']:.3f} are the same for a narrative, "
            f"{figures['nearest_to_questions']:.3f} for a question",
        )


def _agreement(
    narratives: tuple[NDArray[np.float32], NDArray[np.float32]],
    asked: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> dict[str, float]:
    (small, exact), (small_asked, exact_asked) = narratives, asked
    cosines = (small * exact).sum(axis=1)
    figures = {
        "cosine_mean": cosines.mean(),
        "cosine_least": cosines.min(),
        "nearest_to_narratives": agreement(nearest(small, small, NEAREST), nearest(exact, exact, NEAREST)),
        "nearest_to_questions": agreement(
            nearest(small_asked, small, NEAREST), nearest(exact_asked, exact, NEAREST)
        ),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def _ask(report: Report, models: dict[str, Told]) -> None:
    """Questions in English, in Spanish, and in Spanish through the glossary."""
    glossary = load_glossary()
    for part, questions in read_questions().items():
        ways = {
            "in English": [q.en for q in questions],
            "in Spanish as they are": [q.es for q in questions],
            "in Spanish through the glossary": [glossary.english(q.es) for q in questions],
        }
        for bits, told in models.items():
            english = told.nearest(ways["in English"], NEAREST)
            figures = {
                way: {
                    "found": round(told.found(questions, words), 3),
                    "same_as_in_english": round(agreement(told.nearest(words, NEAREST), english), 3),
                }
                for way, words in ways.items()
            }
            shares = "; ".join(
                f"{way} {found['found']:.2f} ({found['same_as_in_english']:.2f})"
                for way, found in figures.items()
            )
            report.add(
                f"questions, {part}, {bits}",
                figures,
                f"{len(questions)} questions about the sample ({part}), {bits}: right among the 5 nearest narratives "
                f"(share of the {NEAREST} nearest that the English question has too): {shares}",
            )


if __name__ == "__main__":
    main()
