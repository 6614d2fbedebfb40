"""Every kind of file is damaged, thousands of times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torture import corruption
from torture.in_ci import hold

if TYPE_CHECKING:
    from pathlib import Path


def test_damage_is_noticed_and_named_and_takes_nothing_else_with_it(tmp_path: Path) -> None:
    """Flipped bits, cut, longer and mixed-up files of all kinds."""
    outcome = hold(corruption.SUITE, tmp_path)
    assert min(outcome.facts[kind] for kind in ("sealed", "log", "derived", "pointer", "other")) > 1000
    assert outcome.facts["started over it"] > 300
