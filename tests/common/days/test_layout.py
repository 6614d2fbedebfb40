"""A folder is taken for a state directory only where it is one that this release can work with."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.common.days.layout import LAYOUT_VERSION, check_layout, claim_layout
from services.common.days.names import StateNames
from services.common.errors import AppiaError

if TYPE_CHECKING:
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not")
def test_a_folder_of_another_user_is_one_sentence_with_the_command_that_helps(disk: Disk) -> None:
    """Such as a state directory that root restored; not pytest's folder, which nobody else may enter anyway."""
    with tempfile.TemporaryDirectory(prefix="appia-layout-") as folder:
        Path(folder).chmod(0o711)
        state = StateNames(Path(folder) / "state")
        claim_layout(state, disk)
        state.root.chmod(0o700)
        os.seteuid(65534)
        try:
            for look in (lambda: claim_layout(state, disk), lambda: check_layout(state)):
                with pytest.raises(
                    AppiaError, match=r"may not be entered by this user \(65534\): run `chown"
                ):
                    look()
        finally:
            os.seteuid(0)
