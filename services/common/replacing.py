"""Small files that must survive a power cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.durable import Disk
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path


def replace_file(disk: Disk, path: Path, content: bytes, mode: int = Disk.FILE_MODE) -> None:
    """Put `content` in the place of `path` in one step: after a power cut the old or the new is there, whole.

    The file gets the permission bits `mode`, less those that the umask of the process takes.
    One writer at a time. Blocks on the disk.

    Raises:
        AppiaError: the folder is missing, the disk is full, or any other failure of the disk.
    """
    try:
        disk.write_file(path, content, mode)
    except OSError as error:
        raise AppiaError(
            f"{path} could not be written ({error.strerror}): check its folder, owner and disk."
        ) from error
