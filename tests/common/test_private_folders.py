"""Folders that others may enter or change are refused with the command that closes them."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.private_folders import check_private, check_unwritable

if TYPE_CHECKING:
    from pathlib import Path


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("mode", "wanted"), [(0o755, 0o750), (0o751, 0o750), (0o777, 0o750), (0o770, 0o750), (0o705, 0o700)]
)
def test_a_folder_open_to_others_is_refused(tmp_path: Path, mode: int, wanted: int) -> None:
    """The command that the sentence names is what helps."""
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(AppiaError, match=f"run `chmod {wanted:04o} {folder}`"):
        check_private(folder)
    folder.chmod(wanted)
    check_private(folder)


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o710, 0o500])
def test_owner_and_group_may_read(tmp_path: Path, mode: int) -> None:
    """A replica of another user of the group reads; nobody but the owner writes."""
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    check_private(folder)
    folder.chmod(0o700)


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o722])
def test_a_folder_of_keys_that_others_may_change_is_refused(tmp_path: Path, mode: int) -> None:
    """Who can write there puts another key in its place, whatever the mode of the file is."""
    folder = tmp_path / "keys"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(AppiaError, match=f"chmod 0700 {folder}"):
        check_unwritable(folder)
    folder.chmod(0o755)
    check_unwritable(folder)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(AppiaError, match="cannot be looked at"):
        check_private(tmp_path / "absent")


def test_a_folder_that_is_claimed_is_closed(tmp_path: Path) -> None:
    """Whoever makes the state directory with `mkdir` before the first start leaves it open; the start closes it."""
    state = StateNames(tmp_path / "state")
    state.root.mkdir()
    state.root.chmod(0o755)
    claim_layout(state, Disk())
    assert _mode(state.root) == 0o750


def test_a_state_directory_that_was_opened_later_is_refused(tmp_path: Path) -> None:
    """It may have been opened on purpose, and what lies in it may have been read: the operator decides."""
    state = StateNames(tmp_path / "state")
    claim_layout(state, Disk())
    state.root.chmod(0o755)
    with pytest.raises(AppiaError, match="chmod 0750"):
        claim_layout(state, Disk())
    assert _mode(state.root) == 0o755


def test_folders_that_are_made_are_closed(tmp_path: Path) -> None:
    """Also each folder on the way to the state directory that was not there."""
    state = StateNames(tmp_path / "a" / "b")
    claim_layout(state, Disk())
    assert (_mode(tmp_path / "a"), _mode(state.root), _mode(state.version)) == (0o750, 0o750, 0o640)
