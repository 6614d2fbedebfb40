"""A folder is taken for a state directory only where it is one that this release can work with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.days.layout import LAYOUT_VERSION, claim_layout
from services.common.days.names import StateNames
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.durable import Disk


def test_a_state_directory_is_claimed_once_and_recognised_after(tmp_path: Path, disk: Disk) -> None:
    """A new directory gets its version; the same release accepts it again."""
    state = StateNames(tmp_path / "state")
    claim_layout(state, disk)
    claim_layout(state, disk)
    assert state.version.read_text() == f"{LAYOUT_VERSION}\n"


def test_a_state_directory_of_a_newer_release_is_refused(tmp_path: Path, disk: Disk) -> None:
    """An older program never writes into a newer layout."""
    state = StateNames(tmp_path)
    state.version.write_text(f"{LAYOUT_VERSION + 1}\n")
    with pytest.raises(AppiaError, match="install a newer appia"):
        claim_layout(state, disk)


def test_days_without_a_version_are_not_adopted(tmp_path: Path, disk: Disk) -> None:
    """A directory that lost its VERSION is reported, not silently taken over."""
    (tmp_path / "days").mkdir()
    with pytest.raises(AppiaError, match="no VERSION"):
        claim_layout(StateNames(tmp_path), disk)


def test_a_file_is_no_state_directory(tmp_path: Path, disk: Disk) -> None:
    """Naming a file as the state directory gives a sentence."""
    (tmp_path / "file").touch()
    with pytest.raises(AppiaError, match="not a directory"):
        claim_layout(StateNames(tmp_path / "file"), disk)
