"""Questions in plain language, what is to be understood of each, and what answers it: search is measured on them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from benchmarks.common import ROOT
from services.rag.language.understanding import Facts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

QUESTION_SET = ROOT / "tests" / "data" / "questions" / "questions.toml"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Asked:
    """One question of the set; the file says what its fields mean."""

    text: str
    language: str
    now_ns: int
    filters: Mapping[str, Any]
    rest: str | None
    answers: tuple[tuple[str, ...], ...]
    data: tuple[str, ...]
    held_out: bool

    def is_asked_of(self, data: str) -> bool:
        """Whether it has answers, and is asked of the data set of this name."""
        return bool(self.answers) and (not self.data or data in self.data)

    def is_answered_by(self, narrative: str) -> bool:
        """Whether a narrative answers. Its event must also pass `filters`."""
        told = narrative.casefold()
        return all(any(text in told for text in texts) for texts in self.answers)


@dataclass(frozen=True)
class QuestionSet:
    """All questions, and what their data holds."""

    facts: Facts
    questions: tuple[Asked, ...]

    def half(self, *, held_out: bool) -> tuple[Asked, ...]:
        """The questions that rules and weights may be made by, or those that were held out."""
        return tuple(question for question in self.questions if question.held_out == held_out)


def read_question_set(path: Path = QUESTION_SET) -> QuestionSet:
    """The questions of a file, in its order."""
    document = tomllib.loads(path.read_text("utf-8"))
    named: dict[str, Any] = {name: tuple(texts) for name, texts in document["facts"].items()}
    return QuestionSet(
        Facts(**named), tuple(_asked(entry, document["now"]) for entry in document["question"])
    )


def _asked(entry: Mapping[str, Any], now: datetime) -> Asked:
    return Asked(
        text=entry["text"],
        language=entry["language"],
        now_ns=(entry.get("now", now) - _EPOCH) // timedelta(microseconds=1) * 1000,
        filters=entry.get("filters", {}),
        rest=entry.get("rest"),
        answers=tuple(tuple(text.casefold() for text in texts) for texts in entry.get("answers", ())),
        data=tuple(entry.get("data", ())),
        held_out=entry.get("held_out", False),
    )
