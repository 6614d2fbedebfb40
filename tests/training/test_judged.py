"""What analysts said wins over labels where models are scored and trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.common.feedback.remark import Verdict
from services.training.days_data import choose_rows, sealed_days
from services.training.evaluate import Question, evaluate
from services.training.judged import Judged

if TYPE_CHECKING:
    from collections.abc import Callable

ONE, TWO = "2026-01-20", "2026-01-21"
ALL = 10_000
TP, FP = Verdict.TRUE_POSITIVE, Verdict.FALSE_POSITIVE


@pytest.fixture
def labelled(days: Any, make_payload: Callable[..., bytes]) -> Any:
    """Two days with the labels scan, normal, scan, none and scan, BENIGN, normal."""
    for day, labels in ((ONE, ["scan", "normal", "scan", ""]), (TWO, ["scan", "BENIGN", "normal"])):
        days.seal(day, [make_payload(day, number, label) for number, label in enumerate(labels)])
    return days


@pytest.mark.parametrize(
    ("verdicts", "labels", "judged"),
    [
        ({}, ["scan", "normal", "scan", "", "scan", "BENIGN", "normal"], Judged()),
        # What these days call benign most often is the class of a false positive, of one without a label too.
        (
            {f"{ONE}-0": (FP,), f"{ONE}-3": (FP,)},
            ["normal", "normal", "scan", "normal", "scan", "BENIGN", "normal"],
            Judged(benign=2),
        ),
        # A true positive keeps its class; where that is benign nobody knows what it is. Other names of benign stay.
        (
            {f"{TWO}-0": (TP,), f"{TWO}-1": (TP,), f"{ONE}-1": (FP,), f"{TWO}-2": (FP, TP)},
            ["scan", "normal", "scan", "", "scan", "", "normal"],
            Judged(benign=2, confirmed=1, left_out=1, disputed=1),
        ),
        # Notes alone, and events of other days, change nothing.
        (
            {f"{ONE}-0": (), "elsewhere": (FP,)},
            ["scan", "normal", "scan", "", "scan", "BENIGN", "normal"],
            Judged(),
        ),
    ],
)
def test_labels_after_what_was_said(
    labelled: Any, verdicts: dict[str, tuple[Verdict, ...]], labels: list[str], judged: Judged
) -> None:
    """The newest verdict of each event decides, and every change is counted."""
    with sealed_days(labelled.state) as readers:
        chosen = choose_rows(readers, ALL, verdicts)
    expected = [(day, label) for day, label in zip([ONE] * 4 + [TWO] * 3, labels, strict=True) if label]
    days_of = [chosen.days[number] for number in chosen.rows.days.tolist()]
    assert list(zip(days_of, chosen.rows.labels.tolist(), strict=True)) == expected
    assert (chosen.judged, chosen.unlabelled) == (judged, labels.count(""))


def test_without_a_benign_class_false_positives_get_one(
    days: Any, make_payload: Callable[..., bytes]
) -> None:
    """Its name is longer than those of the other classes, and not cut."""
    days.seal(ONE, [make_payload(ONE, 0, "bot"), make_payload(ONE, 1, "bot")])
    with sealed_days(days.state) as readers:
        assert choose_rows(readers, ALL, {f"{ONE}-1": (FP,)}).rows.labels.tolist() == ["bot", "BENIGN"]


def test_scores_are_of_what_analysts_said(days: Any, payloads: Callable[..., list[bytes]]) -> None:
    """Scans that analysts call benign are scored as a class of their own, and the answer counts them."""
    days.seal(ONE, payloads(ONE, 120))
    wrong = {f"{ONE}-{number}": (FP,) for number in range(1, 120, 4)}
    with sealed_days(days.state) as readers:
        labels = dict(zip(range(120), choose_rows(readers, ALL).rows.labels.tolist(), strict=True))
        before = evaluate(readers, Question(("attack",)), lambda *_: None)
        after = evaluate(readers, Question(("attack",), verdicts=wrong), lambda *_: None)
    assert {labels[number] for number in range(1, 120, 4)} == {"scan"}
    assert before.to_json()["feedback"] == {"benign": 0, "confirmed": 0, "left_out": 0, "disputed": 0}
    assert after.to_json()["feedback"] == {"benign": 30, "confirmed": 0, "left_out": 0, "disputed": 0}
    assert after.to_json()["classes"] == {"BENIGN": 30, "scan": 30, "web": 60}
    # Half of the scans are called benign now, though their features are those of the others.
    assert after.lines[0].scores.classes["scan"] < before.lines[0].scores.classes["scan"]
