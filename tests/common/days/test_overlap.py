"""The report on two versions of an index counts what a plain comparison of their neighbours counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from services.common.days.open_writer import VectorSpec
from services.common.days.overlap import K, RowFacts, Sampling, compare
from services.common.days.vectors import VectorIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ROWS = 120
EVERY_ROW = Sampling(rows=ROWS, a_class=0)


def _index(vectors: NDArray[np.float32], model: str) -> VectorIndex:
    return VectorIndex(VectorSpec("attack", model, vectors.shape[1], "l2"), len(vectors), vectors)


def _facts(classes: NDArray[np.integer], texts: Sequence[str]) -> RowFacts:
    return RowFacts(
        np.arange(len(classes), dtype=np.int64), classes, texts, lambda rows: [f"e{row}" for row in rows]
    )


def _neighbours(vectors: NDArray[np.float32], row: int) -> list[int]:
    """By numpy alone, ties by nearness in time."""
    distances = np.linalg.norm(vectors - vectors[row], axis=1).round(5)
    order = np.lexsort((np.abs(np.arange(len(vectors)) - row), distances))
    return [other for other in order.tolist() if other != row][:K]


def test_shares_are_those_of_a_plain_comparison() -> None:
    """Mean, percentiles and shares of the class over every row, and by class, as numpy finds them."""
    rng = np.random.default_rng(1)
    old = rng.normal(size=(ROWS, 6)).astype(np.float32)
    new = (old + rng.normal(size=(ROWS, 6))).astype(np.float32)
    classes = rng.integers(0, 3, ROWS)
    report = compare(_index(old, "m@1"), _index(new, "m@2"), _facts(classes, ("", "scan", "web")), EVERY_ROW)
    before = [_neighbours(old, row) for row in range(ROWS)]
    after = [_neighbours(new, row) for row in range(ROWS)]
    shares = np.array([len(set(a) & set(b)) / K for a, b in zip(before, after, strict=True)])
    assert (report.asked, report.before, report.after) == (ROWS, "m@1", "m@2")
    assert report.mean == pytest.approx(shares.mean(), abs=1e-4)
    expected = np.percentile(shares, (10, 50, 90))
    assert (report.p10, report.p50, report.p90) == pytest.approx(expected, abs=1e-4)
    labelled = [row for row in range(ROWS) if classes[row]]
    for told, found in ((report.same_class_before, before), (report.same_class_after, after)):
        same = [np.mean(classes[found[row]] == classes[row]) for row in labelled]
        assert told == pytest.approx(np.mean(same), abs=1e-4)
    assert {one.name: one.asked for one in report.classes} == {
        "scan": int((classes == 1).sum()),
        "web": int((classes == 2).sum()),
    }
    for one in report.classes:
        of_class = classes == ("", "scan", "web").index(one.name)
        assert one.overlap == pytest.approx(shares[of_class].mean(), abs=1e-4)


def test_the_same_vectors_agree_wholly_also_where_many_are_equal() -> None:
    """Ties go by time in both, so a model that changes nothing has overlap 1; no example is shown."""
    vectors = np.repeat(np.eye(3, dtype=np.float32), 40, axis=0)
    report = compare(
        _index(vectors, "m@1"), _index(2 * vectors, "m@2"), _facts(np.zeros(ROWS, np.int64), ("",))
    )
    assert (report.mean, report.p10) == (1.0, 1.0)
    assert (report.same_class_before, list(report.classes), list(report.examples)) == (None, [], [])


def test_rare_classes_are_asked_about_too() -> None:
    """A class that the sample of all rows has little of is filled up; it does not weigh in the overall figures."""
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(3000, 4)).astype(np.float32)
    classes = np.zeros(3000, np.int64)
    classes[100:130] = 1
    shuffled = vectors.copy()
    shuffled[100:130] = rng.normal(size=(30, 4))
    report = compare(_index(vectors, "a"), _index(shuffled, "b"), _facts(classes, ("benign", "rare")))
    asked = {one.name: one.asked for one in report.classes}
    assert report.asked == 200
    assert (asked["rare"], asked["benign"] > 180) == (20, True)
    assert report.classes[0].name == "rare", "what differs most comes first"
    assert report.mean > 0.9 > report.classes[0].overlap


def test_what_differs_most_is_shown_with_its_classes() -> None:
    """An event whose neighbours were exchanged altogether is the first example."""
    rng = np.random.default_rng(3)
    old = rng.normal(size=(ROWS, 4)).astype(np.float32)
    new = old.copy()
    new[17] += 50
    report = compare(
        _index(old, "a"), _index(new, "b"), _facts(np.ones(ROWS, np.int64), ("", "scan")), EVERY_ROW
    )
    first = report.examples[0]
    assert first.row == "e17 (scan)"
    assert first.before == [f"e{row} (scan)" for row in _neighbours(old, 17)[:3]]
    assert first.after == [f"e{row} (scan)" for row in _neighbours(new, 17)[:3]]
    assert compare(
        _index(old, "a"), _index(new, "b"), _facts(np.ones(ROWS, np.int64), ("", "scan"))
    ) == compare(_index(old, "a"), _index(new, "b"), _facts(np.ones(ROWS, np.int64), ("", "scan"))), (
        "the same rows are asked about each time"
    )


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_days_of_hardly_any_row_have_a_report(rows: int) -> None:
    vectors = np.zeros((rows, 4), np.float32)
    report = compare(
        _index(vectors, "a"), _index(vectors, "b"), _facts(np.ones(rows, np.int64), ("", "scan"))
    )
    assert (report.asked, report.mean) == (rows, 1.0)
