"""Days pass, and each holds what it has to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torture import soak
from torture.in_ci import hold
from torture.suite import Budget

if TYPE_CHECKING:
    from pathlib import Path


def test_days_end_with_exact_counts(tmp_path: Path) -> None:
    """Every day is sealed by the clock, some more than once, and processes ended and were killed in between."""
    outcome = hold(soak.SUITE, tmp_path)
    facts = outcome.facts
    assert facts["days"] > soak.SUITE.ci_rounds
    assert facts["generations"] > facts["days"]
    assert facts["kills"]
    assert facts["ends"]
    assert facts["events"] > 3 * soak.EVENTS_A_DAY
    assert facts["duplicates"]
    assert facts["refused"]


def test_an_event_that_is_missing_or_another_is_noticed(tmp_path: Path) -> None:
    """What is sent is counted apart from what the ingester says."""
    passed = soak.Soak(Budget(1, tmp_path, 1))
    passed.day()
    passed.book.take(b"never sent", soak.FIRST_DAY_S)
    told = passed.close()
    assert any("accepted: " in sentence for sentence in told)
    assert any("2026-01-22 holds" in sentence for sentence in told)
