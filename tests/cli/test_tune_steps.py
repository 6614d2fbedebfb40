"""Thresholds move by a step and never beyond their bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.proposals import bounds_of
from services.cli.tune_steps import NOVELTY, Direction, steps, threshold_keys
from services.common.config.tree import RAG, SECTIONS, SENSORS
from services.common.errors import UsageError

if TYPE_CHECKING:
    from services.common.config.tree import Value

UP, DOWN = Direction.ACCELERATE, Direction.DECELERATE


def values(**changed: Value) -> dict[str, dict[str, Value]]:
    """The defaults of every section, some of them changed."""
    now = {section: live().model_dump() for section, live in SECTIONS.items()}
    for name, value in changed.items():
        section, _, key = name.partition("__")
        now[section][key] = value
    return now


def test_every_threshold_of_sensors_and_replicas_moves() -> None:
    """A detector's score by the step itself; a percentile by how rare it calls events."""
    moved = {one.name: one.proposed for one in steps(values(), UP, 0.05, ())}
    assert moved == {
        "sensors.threshold_level1_attack": 0.7,
        "sensors.threshold_level2_ddos": 0.9,
        "sensors.threshold_level2_ransomware": 0.95,
        "sensors.threshold_level3_anomaly": 0.85,
        "sensors.threshold_level3_web": 0.8,
        "sensors.threshold_level3_internal": 0.9,
        "rag.novel_percentile": 99.9292,
    }
    back = {one.name: one.proposed for one in steps(values(), DOWN, 0.05, (SENSORS,))}
    assert back["sensors.threshold_level1_attack"] == 0.6
    assert set(threshold_keys()) == {SENSORS, RAG}


def test_at_the_bound_nothing_changes_and_it_is_said() -> None:
    """A step is cut at the bound; after that there is none."""
    (first, *_) = steps(values(sensors__threshold_level1_attack=0.97), UP, 0.05, (SENSORS,))
    assert (first.proposed, first.why, first.changes) == (0.99, "fewer detections, at its bound", True)
    (second, *_) = steps(values(sensors__threshold_level1_attack=0.99), UP, 0.05, (SENSORS,))
    assert (second.proposed, second.why, second.changes) == (0.99, "at its bound already", False)


@pytest.mark.parametrize("outside", [99.999, 50.0])
@pytest.mark.parametrize("direction", [UP, DOWN])
def test_what_stands_beyond_a_step_is_never_moved_the_wrong_way(outside: float, direction: Direction) -> None:
    """Somebody set a percentile by hand that no step leads to: fewer never become more."""
    (moved,) = steps(values(rag__novel_percentile=outside), direction, 0.05, (RAG,))
    assert (moved.proposed >= outside) if direction is UP else (moved.proposed <= outside)


@pytest.mark.parametrize("step", [0, -0.05, 0.3, float("nan"), float("inf")])
def test_a_step_has_bounds(step: float) -> None:
    """So that one word cannot blind every sensor."""
    with pytest.raises(UsageError, match=r"choose 0\.005 to 0\.2"):
        steps(values(), UP, step, ())


def test_a_section_without_thresholds_is_named() -> None:
    """With those that have some."""
    with pytest.raises(
        UsageError, match="'ingester' has no thresholds to move; there are those of sensors, rag"
    ):
        steps(values(), UP, 0.05, ("ingester",))


@given(
    start=st.floats(0.5, 0.99),
    percentile=st.floats(90, 99.99),
    step=st.floats(0.005, 0.2),
    direction=st.sampled_from([UP, DOWN]),
)
def test_steps_go_one_way_stay_inside_and_can_be_taken_by_the_schema(
    start: float, percentile: float, step: float, direction: Direction
) -> None:
    """Whatever the start and the step."""
    now = values(sensors__threshold_level3_web=start, rag__novel_percentile=percentile)
    for one in steps(now, direction, step, ()):
        lowest, highest = bounds_of(one.section, one.key)
        before, after = float(one.now), float(one.proposed)
        assert lowest <= after <= highest
        assert after >= before if direction is UP else after <= before
        if one.key != NOVELTY:
            assert abs(after - before) <= step + 1e-4
        SECTIONS[one.section](**{one.key: one.proposed})
