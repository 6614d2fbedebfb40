"""A remark says something, says nothing that could steer a terminal, and comes back from the contract's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import AppiaError, UsageError
from services.common.events.network_security_pb2 import HumanFeedback
from services.common.feedback.remark import MAX_NOTE, Remark, Verdict, read_remark

if TYPE_CHECKING:
    from collections.abc import Callable

WHO = {"feedback_id": "f-1", "event_id": "e-1", "analyst": "ana"}
NOW = 1_769_040_000_123_456_789
WORDS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40)


@given(
    verdict=st.sampled_from([None, *Verdict]),
    note=WORDS,
    tags=st.lists(WORDS, max_size=5, unique=True),
    confidence=st.integers(1, 5),
    time_ns=st.integers(0, 1 << 62),
)
def test_a_remark_comes_back_from_the_contract(
    verdict: Verdict | None, note: str, tags: list[str], confidence: int, time_ns: int
) -> None:
    """What was asked to be kept is what the serialized `HumanFeedback` holds."""
    raw: dict[str, Any] = {**WHO, "note": note, "tags": tags, "verdict": verdict}
    if verdict is not None:
        raw["confidence"] = confidence
    made = read_remark(raw, time_ns)
    assert Remark.of_bytes(made.to_bytes()) == made
    assert (made.verdict, made.note, made.tags, made.time_ns) == (verdict, note, tuple(tags), time_ns)


@pytest.mark.parametrize(
    ("says", "kind", "flags"),
    [
        ({"verdict": "true_positive"}, "VALIDATION", (True, False)),
        ({"verdict": "false_positive"}, "FALSE_POSITIVE_REPORT", (False, True)),
        ({"note": "seen before"}, "ADDITIONAL_CONTEXT", (False, False)),
        ({"withdraw": True}, "CORRECTION", (False, False)),
    ],
)
def test_the_contract_has_a_type_for_each(says: dict[str, Any], kind: str, flags: tuple[bool, bool]) -> None:
    """Other programs that read the contract see what kind of remark it is."""
    message = HumanFeedback.FromString(read_remark({**WHO, **says}, NOW).to_bytes())
    assert HumanFeedback.FeedbackType.Name(message.feedback_type) == kind
    assert (message.confirmed_true_positive, message.confirmed_false_positive) == flags
    assert message.feedback_timestamp.ToNanoseconds() == NOW


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        ({}, "says nothing"),
        ({"note": " \n "}, "says nothing"),
        ({"verdict": "maybe"}, "one of true_positive, false_positive"),
        ({"verdict": ["true_positive"]}, "one of true_positive, false_positive"),
        ({"note": 5}, "'note' must be a text"),
        ({"note": "x" * (MAX_NOTE + 1)}, f"has {MAX_NOTE + 1} bytes, at most {MAX_NOTE}"),
        ({"note": "ü" * (MAX_NOTE // 2 + 1)}, f"has {MAX_NOTE + 2} bytes"),
        ({"note": "\x1b[2J"}, r"'note' has the control character U\+001B"),
        ({"note": "a\u202etxt.exe"}, r"U\+202E"),
        ({"note": "\ud800"}, r"U\+D800"),
        ({"note": "x", "analyst": "a\nb"}, r"'analyst' has the control character U\+000A"),
        ({"note": "x", "analyst": " "}, "'analyst' must be a text of 1 to 64"),
        ({"note": "x", "analyst": "a" * 65}, "'analyst' must be a text of 1 to 64"),
        ({"note": "x", "event_id": ""}, "'event_id' must be a text of 1 to 256"),
        ({"note": "x", "feedback_id": None}, "'feedback_id' must be a text"),
        ({"note": "x", "tags": "one"}, "'tags' must be a list"),
        ({"note": "x", "tags": ["t"] * 17}, "at most 16"),
        ({"note": "x", "tags": [""]}, "'tags' must be a text of 1 to 64"),
        ({"note": "x", "confidence": 3}, "belongs to a verdict"),
        ({"verdict": "true_positive", "confidence": 0}, "from 1"),
        ({"verdict": "true_positive", "confidence": 6}, "to 5"),
        ({"verdict": "true_positive", "confidence": True}, "whole number"),
        ({"withdraw": True, "note": "x"}, "stands alone"),
        ({"withdraw": "yes", "note": "x"}, "'withdraw' must be true or false"),
        ({"note": "x", "mood": "bad"}, "no argument 'mood'"),
    ],
)
def test_what_is_not_allowed_is_a_sentence(says: dict[str, Any], sentence: str) -> None:
    """Each wrong argument is refused by name."""
    with pytest.raises(UsageError, match=sentence):
        read_remark({**WHO, **says}, NOW)


def test_a_note_may_have_lines() -> None:
    """Line breaks are kept, blanks around the note are not."""
    assert read_remark({**WHO, "note": " one\ntwo \n"}, NOW).note == "one\ntwo"


def test_other_bytes_are_no_remark(remark: Callable[..., Remark]) -> None:
    """A record that holds something else is named, never half understood."""
    with pytest.raises(AppiaError, match="no remark"):
        Remark.of_bytes(remark(1, "note").to_bytes()[:-1])
