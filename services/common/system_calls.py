"""The port to the disk: one method for each system call that changes files.

`Disk` (`services/common/durable.py`) is made of nothing else. A test puts other `SystemCalls` in their place, to fail,
lose, tear or record any of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class SystemCalls:
    """The calls that change files, as the system has them. Blocking; raise `OSError` as the system gives it."""

    def open(self, path: Path | str, flags: int, mode: int = 0o640) -> int:
        """The call open (2); gives the file descriptor."""
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        """The call close (2)."""
        os.close(fd)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """The call write (2); gives how many bytes were taken, which may be fewer."""
        return os.write(fd, data)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """The call pwrite (2); gives how many bytes were taken, which may be fewer."""
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        """The call ftruncate (2)."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """The call fsync (2), of a file or a folder."""
        os.fsync(fd)

    def sync_data(self, fd: int) -> None:
        """The call fdatasync (2)."""
        os.fdatasync(fd)

    def rename(self, old: Path | str, new: Path | str) -> None:
        """The call rename (2): replaces a file that is there."""
        os.replace(old, new)  # noqa: PTH105 - named like the system call

    def unlink(self, path: Path | str) -> None:
        """The call unlink (2)."""
        os.unlink(path)  # noqa: PTH108 - named like the system call

    def mkdir(self, path: Path | str, mode: int) -> None:
        """The call mkdir (2)."""
        os.mkdir(path, mode)  # noqa: PTH102 - named like the system call

    def rmdir(self, path: Path | str) -> None:
        """The call rmdir (2)."""
        os.rmdir(path)  # noqa: PTH106 - named like the system call

    def chmod(self, path: Path | str, mode: int) -> None:
        """The call chmod (2)."""
        os.chmod(path, mode)  # noqa: PTH101 - named like the system call

    def written_by_library(self, path: Path | str) -> None:
        """Say that a library (SQLite) has written the file itself. Nothing is done; who records calls reads it now."""


SYSTEM = SystemCalls()
"""The real ones; they hold no state."""
