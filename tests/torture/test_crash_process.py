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
    assert facts["died at a call"] + facts["moment"] >= 3
    assert facts["sealers killed"] >= 1
    assert facts["sealed after"] >= 2
    assert facts["events"] > 500
