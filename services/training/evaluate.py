"""Scores representations of the same events on the same split: what `appia models evaluate` and `train` tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.names import EVENT_INDICES
from services.common.errors import AppiaError
from services.training.baselines import baselines
from services.training.days_data import choose_rows, read_features, served_space
from services.training.scoring import Searches, confusion, score
from services.training.split import Split, split_by_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.common.days.fusion import FusionWeights
    from services.common.days.sealed_reader import SealedReader
    from services.training.days_data import ChosenRows
    from services.training.judged import Verdicts
    from services.training.port import Report
    from services.training.scoring import Scores, Space

FUSED = "fused"


@dataclass(frozen=True)
class Question:
    """What is to be evaluated.

    Attributes:
        indices: event indices and "fused".
        baselines: also score what needs no training.
        share: of each class that is the base.
        events: at most so many are looked at.
        verdicts: of analysts, by event id: they win over labels.
    """

    indices: tuple[str, ...] = (*EVENT_INDICES, FUSED)
    baselines: bool = False
    share: float = 0.6
    events: int = 100_000
    verdicts: Verdicts = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """One representation: its name, the model if it has one, its scores, and the classes of its neighbours."""

    name: str
    model: str
    scores: Scores
    confusion: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """For programs; precisions with 4 digits."""
        return {
            "name": self.name,
            "model": self.model,
            "overall": round(self.scores.overall, 4),
            "macro": round(self.scores.macro, 4),
            "classes": {name: round(value, 4) for name, value in self.scores.classes.items()},
            "confusion": {
                name: {other: round(share, 4) for other, share in shares.items()}
                for name, shares in self.confusion.items()
            },
        }


class Exam:
    """Asks about the queries of one split, in any representation of its events."""

    def __init__(self, chosen: ChosenRows, split: Split, weights: FusionWeights | None = None) -> None:
        """Prepare.

        Raises:
            AppiaError: there is no base or nothing to ask about.
        """
        if not split.base.any() or not split.queries.any():
            raise AppiaError(
                f"{len(chosen)} events of {len(chosen.totals)} classes are too few to be divided into a base and "
                "queries: choose more days"
            )
        self.chosen, self.split = chosen, split
        self._weights = weights
        # Where only some were chosen, each class weighs as much as it has, not as much as was looked at.
        self._totals = None if len(chosen) == sum(chosen.totals.values()) else chosen.totals
        self._searches = Searches(chosen.rows, split.base)
        self._queries = np.flatnonzero(split.queries)

    def take(self, name: str, space: Space, model: str = "") -> Line:
        """Score one representation. Blocks for seconds."""
        return self._line(name, model, self._searches.nearest(space, self._queries))

    def take_fused(self, spaces: Mapping[str, Space]) -> Line:
        """Score several indices fused, as `similar --index fused` does."""
        return self._line(FUSED, "", self._searches.fused(spaces, self._queries, self._weights))

    def _line(self, name: str, model: str, found: NDArray[np.int64]) -> Line:
        labels = self.chosen.rows.labels
        scores = score(labels, self._queries, found, self._totals)
        return Line(name, model, scores, confusion(labels, self._queries, found))

    def counts(self) -> dict[str, int]:
        """How many events of each class are asked about."""
        names, counts = np.unique(self.chosen.rows.labels[self._queries], return_counts=True)
        return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


@dataclass(frozen=True)
class Evaluation:
    """What was found out about some days, and the vectors that were looked at."""

    exam: Exam
    lines: tuple[Line, ...]
    spaces: dict[str, Space]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        chosen, split = self.exam.chosen, self.exam.split
        return {
            "days": list(chosen.days),
            "events": len(chosen),
            "unlabelled": chosen.unlabelled,
            "feedback": chosen.judged.to_json(),
            "classes": chosen.totals,
            "base": int(split.base.sum()),
            "queries": self.exam.counts(),
            "rows": [line.to_json() for line in self.lines],
        }


def evaluate(readers: Sequence[SealedReader], question: Question, report: Report) -> Evaluation:
    """Score the served vectors of some sealed days. Blocks for seconds to minutes; reads only.

    Raises:
        AppiaError: no event has a class, an index is missing, or days have it by different models.
    """
    chosen = choose_rows(readers, question.events, question.verdicts)
    split = split_by_time(chosen.rows.labels, chosen.rows.time_ns, question.share)
    exam = Exam(chosen, split)
    wanted = EVENT_INDICES if FUSED in question.indices else question.indices
    served = {index: served_space(readers, chosen, index) for index in wanted}
    spaces = {index: found.space for index, found in served.items()}
    others: dict[str, Space] = {}
    if question.baselines:
        others = baselines(read_features(readers, chosen)[0], split.base)
    lines: list[Line] = []
    total = len(others) + len(question.indices)
    for name, space in others.items():
        report(name, len(lines), total)
        lines.append(exam.take(name, space))
    for index in question.indices:
        report(index, len(lines), total)
        if index == FUSED:
            lines.append(exam.take_fused(spaces))
        else:
            lines.append(exam.take(index, spaces[index], served[index].model_id))
    return Evaluation(exam, tuple(lines), spaces)
