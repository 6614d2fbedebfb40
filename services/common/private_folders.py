"""Who may look into the folders that appia keeps things in: checked at each start, and said with what to do."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.durable import Disk

UMASK = 0o027
"""For processes that write: files that a library makes by itself (SQLite) are not for everybody either."""
_OPEN_TO_OTHERS = 0o027
_WRITABLE = 0o022


def check_private(folder: Path) -> None:
    """Check that nobody but the owner can change what is in `folder`, and nobody but owner and group read it.

    Everything below is safe then too, whatever its own mode is: who may not enter a folder reaches nothing in it.

    Raises:
        AppiaError: others can.
    """
    mode = _mode(folder)
    if mode & _OPEN_TO_OTHERS:
        raise AppiaError(
            f"{folder} has mode {mode:04o}, so others can read or change what is kept there: "
            f"run `chmod {mode & ~_OPEN_TO_OTHERS:04o} {folder}`"
        )


def check_unwritable(folder: Path) -> None:
    """Check that nobody but the owner can put files into `folder`, such as a key of their own in the place of another.

    Raises:
        AppiaError: others can.
    """
    mode = _mode(folder)
    if mode & _WRITABLE:
        raise AppiaError(
            f"{folder} has mode {mode:04o}, so others can replace the keys in it: "
            f"run `chmod {mode & ~_WRITABLE:04o} {folder}`"
        )


def make_private(disk: Disk, folder: Path) -> None:
    """Close a folder that is claimed: an operator who made it before left it open to others, as `mkdir` does."""
    mode = _mode(folder)
    if mode & _OPEN_TO_OTHERS:
        disk.calls.chmod(folder, mode & ~_OPEN_TO_OTHERS)


def _mode(folder: Path) -> int:
    try:
        return stat.S_IMODE(folder.stat().st_mode)
    except OSError as error:
        raise AppiaError(
            f"{folder} cannot be looked at ({error.strerror}): check its name and owner."
        ) from None
