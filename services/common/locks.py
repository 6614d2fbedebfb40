"""Turns between processes that change the same files: flock(2), which ends with a process however that ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.common.durable import Disk


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Be the only one that changes the files of `folder`, which is there; blocks until it is one's turn.

    No file is made for it. Raises `OSError` where the folder cannot be opened.
    """
    with _held(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)):
        yield


@contextmanager
def locked_file(disk: Disk, path: Path) -> Iterator[None]:
    """Be the only one that holds the lock file `path`, which is made and stays; blocks until it is one's turn.

    Raises `OSError` where it cannot be opened.
    """
    with _held(disk.lock_file(path)):
        yield


@contextmanager
def _held(handle: int) -> Iterator[None]:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
