"""Evaluations tell apart what can be told apart, beside baselines on the same split."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.errors import AppiaError
from services.training.baselines import baselines, standardized
from services.training.days_data import sealed_days
from services.training.evaluate import Question, evaluate
from services.training.extra import require
from services.training.scoring import Rows, Space

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ONE, TWO = "2026-01-20", "2026-01-21"
PNG = b"\x89PNG\r\n\x1a\n"


def silent(_step: str, _done: int, _total: int) -> None:
    return


@pytest.fixture
def two_days(days: Any, payloads: Callable[..., list[bytes]]) -> Any:
    for day in (ONE, TWO):
        days.seal(day, payloads(day, 60))
    return days


def test_classes_that_differ_are_found_apart(two_days: Any) -> None:
    """Web talk and scans have neighbours of their own class in every index, fused, and by every baseline."""
    with sealed_days(two_days.state) as readers:
        found = evaluate(readers, Question(baselines=True), silent)
    names = [line.name for line in found.lines]
    assert names == [
        *("random projection", "z-score", "z-score, PCA 64"),
        *("attack", "semantic", "temporal", "fused"),
    ]
    scores = {line.name: line.scores.macro for line in found.lines}
    # What stands in for a sentence model here knows only whether two sentences are equal.
    assert scores.pop("semantic") > 0.9
    assert set(scores.values()) == {1.0}
    assert found.lines[3].confusion == {"scan": {"scan": 1.0}, "web": {"web": 1.0}}
    answer = json.loads(json.dumps(found.to_json()))
    assert (answer["events"], answer["base"], answer["unlabelled"]) == (120, 72, 0)
    assert answer["queries"] == {"scan": 24, "web": 24}
    assert [row["model"] for row in answer["rows"]][3:5] == ["attack@000000000001", "semantic@000000000001"]


def test_labels_that_mean_nothing_score_as_chance(days: Any, make_payload: Callable[..., bytes]) -> None:
    """Where labels are drawn by lot, about half of the neighbours have the same: labels are in no vector."""
    rng = np.random.default_rng(5)
    days.seal(ONE, [make_payload(ONE, n, ("odd", "even")[rng.integers(2)]) for n in range(400)])
    with sealed_days(days.state) as readers:
        found = evaluate(readers, Question(), silent)
    assert all(0.35 < line.scores.overall < 0.65 for line in found.lines)


def test_some_of_many_events_stand_for_all(days: Any, make_payload: Callable[..., bytes]) -> None:
    """Overall weighs the classes as they are, also where only some events of the frequent one are looked at."""
    labels = ["web" if number % 10 else "scan" for number in range(300)]
    days.seal(ONE, [make_payload(ONE, number, label) for number, label in enumerate(labels)])
    with sealed_days(days.state) as readers:
        found = evaluate(readers, Question(("attack",), events=60), silent)
    (line,) = found.lines
    assert line.scores.counts == {"scan": 12, "web": 12}
    weighed = 0.9 * line.scores.classes["web"] + 0.1 * line.scores.classes["scan"]
    assert line.scores.overall == pytest.approx(weighed)


def test_one_index_needs_no_other(two_days: Any) -> None:
    """A day whose temporal index is missing can still be evaluated in the others; fused says what is missing."""
    two_days.disk.remove(two_days.state.day(ONE).generation(1).index_current("temporal"))
    with sealed_days(two_days.state) as readers:
        assert len(evaluate(readers, Question(("attack", "semantic")), silent).lines) == 2
        with pytest.raises(AppiaError, match="day 2026-01-20 has no index temporal"):
            evaluate(readers, Question(("fused",)), silent)


def test_too_few_events_are_refused(days: Any, make_payload: Callable[..., bytes]) -> None:
    """One event of each class leaves no base; the sentence says so."""
    days.seal(ONE, [make_payload(ONE, 0, "web"), make_payload(ONE, 1, "scan")])
    with (
        sealed_days(days.state) as readers,
        pytest.raises(AppiaError, match="2 events of 2 classes are too few"),
    ):
        evaluate(readers, Question(), silent)


def test_baselines_learn_from_the_base_alone() -> None:
    """Means and deviations are those of the base, whatever the other rows hold; constant columns stay 0."""
    rng = np.random.default_rng(2)
    features = np.abs(rng.normal(size=(50, 6))).astype(np.float32) * 100
    features[:, 2] = 5.0
    base = np.arange(50) < 30
    values = standardized(features, base)
    np.testing.assert_allclose(values[base].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.delete(values[base].std(axis=0), 2), 1, atol=1e-4)
    np.testing.assert_allclose(values[:, 2], 0, atol=1e-9)
    changed = features.copy()
    changed[~base] *= 1000
    spaces, others = baselines(features, base), baselines(changed, base)
    for name, space in spaces.items():
        mine, other = (s.vectors[s.codes][base] for s in (space, others[name]))
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


def test_missing_packages_are_one_sentence() -> None:
    """What is not installed is named, with the command that installs it; what is there passes."""
    require("numpy")
    with pytest.raises(AppiaError, match=r"needs no_such_thing and nor_this, .* `make train-tools`"):
        require("numpy", "no_such_thing", "nor_this")


@pytest.mark.parametrize(("events", "places"), [(300, 40), (3, 3), (50, 1)])
def test_a_picture_is_drawn_of_any_space(tmp_path: Path, events: int, places: int) -> None:
    """Many points, very few, all in one place, and labels by an attacker: a picture of all of them."""
    pytest.importorskip("matplotlib", reason="needs the extra `train`")
    pytest.importorskip("sklearn", reason="needs the extra `train`")
    from services.training.plots import draw  # noqa: PLC0415 - after the skip

    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(places, 12)).astype(np.float32)
    space = Space("l2", vectors, np.append(rng.integers(0, places, events - 1), -1))
    rows = Rows.of_one_day(rng.choice(["_hidden", "$x_{", "a\x1b\n" * 50], events), np.arange(events))
    path = tmp_path / "attack.png"
    assert draw(path, "attack", space, rows) == events - 1
    assert path.read_bytes().startswith(PNG)
