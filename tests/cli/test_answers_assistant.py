"""The answer of `appia ask` as text: what was said, who said it, and what it cannot be trusted with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.answers_assistant import show_answer

if TYPE_CHECKING:
    import pytest

RECEIPT = {"rows": 10, "days": ["2026-01-22"], "missing": [], "took_ms": 2.34}
ANSWER: dict[str, Any] = {
    "answer": "A scan [e-1].\nAnd more [E2].",
    "by": "model",
    "reason": None,
    "supported": True,
    "summary": None,
    "citations": [{"label": "E1", "event_id": "e-1"}, {"label": "E2", "event_id": "odd\x1bid"}],
    "removed": {"labels": 0, "links": 0, "markup": 0},
    "unseen": [],
    "model": "small",
    "also": [],
}


def told(capsys: pytest.CaptureFixture[str], **more: Any) -> list[str]:
    show_answer({**ANSWER, **more})
    return capsys.readouterr().out.splitlines()


def test_an_answer_with_citations(capsys: pytest.CaptureFixture[str]) -> None:
    """Its lines as they are, then who said it; only ids that are not in the text are told again."""
    assert told(capsys) == [
        "A scan [e-1].",
        "And more [E2].",
        "",
        "told by the model small; it cites 2 events",
        r"[E2] is the event odd\x1bid",
    ]


def test_an_answer_that_nothing_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """The summary stands below it, under a line that says why."""
    lines = told(
        capsys, answer="All is well.", supported=False, summary="What fits:\n1. a scan [e-1]", citations=[]
    )
    assert lines == [
        "All is well.",
        "",
        "The model's answer cites no event that was found: nothing shows it. What was found, without the model:",
        "What fits:",
        "1. a scan [e-1]",
        "",
        "told by the model small; it cites 0 events",
    ]


def test_a_summary_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence without a second full stop."""
    lines = told(capsys, by="summary", reason="The endpoint at x is slow.", citations=[])
    assert lines[-1] == "a summary: The endpoint at x is slow"


def test_what_was_left_out_and_asked_besides(capsys: pytest.CaptureFixture[str]) -> None:
    """The reader knows what is missing."""
    also = [
        {"op": "novel", "answer": {"receipt": RECEIPT}, "problem": None},
        {"op": "timeline", "answer": None, "problem": "The time was over."},
    ]
    lines = told(
        capsys,
        unseen=["10.0.0.1", "::1"],
        removed={"labels": 2, "links": 1, "markup": 0},
        also=also,
        citations=[],
    )
    assert lines[-4:] == [
        "named, and in nothing that was found: 10.0.0.1, ::1",
        "left out of the answer: 2 unknown citations, 1 link",
        "asked too: `appia novel` searched 10 rows of 1 day (2026-01-22) in 2.3 ms; nothing was missing",
        "`appia timeline` was asked too and gave nothing: The time was over.",
    ]
