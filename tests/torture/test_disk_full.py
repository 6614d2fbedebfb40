"""A small disk of its own is filled and freed again and again under the ingester's parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from torture import disk_full
from torture.in_ci import hold

if TYPE_CHECKING:
    from pathlib import Path


def test_a_full_disk_loses_nothing_and_the_intake_resumes(tmp_path: Path) -> None:
    if not disk_full.can_mount():
        pytest.skip("a disk of its own needs root, and the right to mount")
    outcome = hold(disk_full.SUITE, tmp_path)
    assert outcome.facts["found full"]
    assert outcome.facts["not read"]
    assert outcome.facts["acknowledged"] > outcome.rounds
