"""Small state files that must survive a power cut, and the two calls that make them do so."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable; blocks on the disk; raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create_durably(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not exist yet, with exactly `mode`, and sync it (not its folder).

    Blocks on the disk. Raises OSError, FileExistsError among them.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        file.write(content)
        file.flush()
        os.fsync(handle)


def replace_durably(path: Path, content: bytes, mode: int = 0o640) -> None:
    """Put `content` in the place of `path` in one step: after a power cut the old or the new is there, whole.

    One writer at a time. Blocks on the disk.

    Raises:
        AppiaError: the folder is missing, the disk is full, or any other failure of the disk.
    """
    staged = path.with_name(f".{path.name}.new")
    try:
        staged.unlink(missing_ok=True)
        create_durably(staged, content, mode)
        staged.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise AppiaError(
            f"{path} could not be written ({error.strerror}): check its folder, owner and disk."
        ) from error
