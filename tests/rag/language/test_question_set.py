"""The questions of tests/data/questions/questions.toml are understood as it says, both halves of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.questions import read_question_set
from services.rag.arguments import parse_filters
from services.rag.language.understand import understand
from services.rag.language.understanding import ENGLISH, SPANISH

if TYPE_CHECKING:
    from benchmarks.questions import Asked

SET = read_question_set()


@pytest.mark.parametrize("question", SET.questions, ids=[question.text for question in SET.questions])
def test_a_question_is_understood(question: Asked) -> None:
    """Its filters mean the same rows as the expected ones, and what is left is what was expected."""
    understood = understand(question.text, question.now_ns, SET.facts)
    assert parse_filters(understood.filters) == parse_filters(question.filters)
    assert understood.language == question.language
    assert question.rest is None or understood.rest == question.rest


def test_the_set_is_large_enough_and_half_of_it_held_out() -> None:
    """At least 60 questions in English and 20 in Spanish, and each half has its share of both."""
    for language, least in ((ENGLISH, 60), (SPANISH, 20)):
        halves = [
            sum(question.language == language for question in SET.half(held_out=held_out))
            for held_out in (False, True)
        ]
        assert sum(halves) >= least
        assert min(halves) >= least // 3


def test_every_part_of_an_answer_comes_from_the_text() -> None:
    """Each filter is told with the phrase that it was read from, and all parts together are the filters."""
    for question in SET.questions:
        understood = understand(question.text, question.now_ns, SET.facts)
        assert {key for part in understood.parts for key in part.filters} == set(understood.filters)
        for part in understood.parts:
            assert part.phrase in question.text
            assert part.sentence
            assert not part.sentence.endswith(".")
