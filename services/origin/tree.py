"""The files of a state directory as they may be read by others: nothing but what is carried, and never by a link.

Every part of a path is opened from the folder before it, without following links, so nothing outside can be put in the
place of a file meanwhile. Only the first part may be a link, where operators put the days on another disk.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.days.carried import carried
from services.common.errors import AppiaError
from services.common.rpc import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.common.days.carried import Carried

FILE, FOLDER = "file", "directory"
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ESTALE})
"""What the system says where nothing is that may be read: gone, or a link or a device in its place."""
_LONGEST_SHOWN = 120


@dataclass(frozen=True)
class Node:
    """A file or folder: the last part of its path, its size in bytes (0 of a folder), when it changed (ns of 1970)."""

    name: str
    kind: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, name: str, status: os.stat_result) -> Node:
        """What the system says of it."""
        if stat.S_ISDIR(status.st_mode):
            return cls(name, FOLDER, 0, status.st_mtime_ns)
        return cls(name, FILE, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Tree:
    """The carried files below `root` that `sees` lets through. Reads only; safe for several threads."""

    root: Path
    sees: Callable[[Carried], bool] = lambda _: True

    def names(self, path: str) -> list[str]:
        """Names in a folder that may be read, ascending. Blocks on the disk.

        Raises:
            NotFound: there is no such folder, or it may not be read.
            AppiaError: the disk fails.
        """
        with self._opened(path, FOLDER) as handle:
            found = sorted(os.listdir(handle))  # noqa: PTH208 - pathlib has none for an opened folder
        return [name for name in found if self._place(_below(path, name)) is not None]

    def stat(self, path: str) -> Node:
        """What is at a path. Blocks and raises as `names`."""
        with self._opened(path, None) as handle:
            return Node.of(path.rpartition("/")[2], os.fstat(handle))

    def read(self, path: str, start: int, length: int) -> tuple[bytes, int]:
        """Up to `length` bytes from the byte `start`, and the size of the file then. Blocks and raises as `names`."""
        with self._opened(path, FILE) as handle:
            size = os.fstat(handle).st_size
            return os.pread(handle, max(min(length, size - start), 0), start), size

    def _place(self, path: str) -> Carried | None:
        place = carried(path)
        return place if place is not None and self.sees(place) else None

    @contextmanager
    def _opened(self, path: str, kind: str | None) -> Iterator[int]:
        place = self._place(path)
        if place is None:
            raise _nothing(path)
        try:
            handle = _open(self.root, path)
            try:
                _check(handle, FOLDER if place.is_folder else FILE, kind)
                yield handle
            finally:
                os.close(handle)
        except OSError as error:
            if error.errno in _GONE:
                raise _nothing(path) from None
            raise AppiaError(
                f"{path or 'The state directory'} cannot be read there ({error.strerror})."
            ) from error


def _open(root: Path, path: str) -> int:
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    # Without waiting: a named pipe in the place of a file would hold the worker for ever.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    for part in path.split("/") if path else ():
        above = handle
        try:
            handle = os.open(part, flags, dir_fd=above)
        finally:
            os.close(above)
        flags |= os.O_NOFOLLOW
    return handle


def _check(handle: int, there: str, wanted: str | None) -> None:
    """Raise OSError unless the opened thing is what belongs at its path, and what is wanted."""
    mode = os.fstat(handle).st_mode
    is_right = stat.S_ISDIR(mode) if there == FOLDER else stat.S_ISREG(mode)
    if not is_right or wanted not in {None, there}:
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def _below(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _nothing(path: str) -> NotFound:
    return NotFound(f"There is no {path[:_LONGEST_SHOWN]!r} that may be read here.")
