"""Processes die at named points; what they acknowledged is there, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torture import crash
from torture.in_ci import hold

if TYPE_CHECKING:
    from pathlib import Path


def test_a_process_that_dies_at_any_point_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Each point once, and most of the processes really die there."""
    outcome = hold(crash.SUITE, tmp_path)
    assert outcome.facts["points"] >= 60
    assert outcome.facts["killed"] > 0.7 * outcome.rounds
    assert outcome.facts["sealed and compared"] > 0.1 * outcome.rounds
