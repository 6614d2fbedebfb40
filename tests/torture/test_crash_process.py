"""The real ingester and its sealer die under a real sender; a real replica shows every event once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from torture import crash_process
from torture.in_ci import hold

from services.cli.store_folder import model_store_folder

if TYPE_CHECKING:
    from pathlib import Path


def test_processes_that_die_lose_and_double_nothing(tmp_path: Path) -> None:
    """At random moments, at named calls, while they start, and the sealer alone."""
    if not (model_store_folder(None, os.environ) / "semantic" / "ACTIVE").exists():
        pytest.skip("no models are built: run `appia models build`")
    facts = hold(crash_process.SUITE, tmp_path).facts
    assert facts["points"] >= 60
    assert facts["died at a call"] + facts["died at its start"] >= 2
    assert facts["sealers killed"] >= 1
    assert facts["sealed after"] >= 2
    assert facts["events"] > 500


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (["event-1", "event-0"], ""),
        (["event-1"], "1 are lost and 0 are there twice, 0 were never sent: ['event-0']"),
        (["event-0", "event-1", "event-1"], "0 are lost and 1 are there twice"),
        (["event-0", "event-1", "event-2"], "1 were never sent: [] ['event-2']"),
    ],
)
def test_what_is_shown_is_compared_with_what_was_sent(shown: list[str], said: str) -> None:
    """An event that is lost, doubled or strange is told."""
    found = crash_process.differences(shown, 2)
    assert said in found
    assert bool(found) == bool(said)
