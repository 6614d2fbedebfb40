"""Who still reads a folder of sealed files: readers hold shared locks, who deletes wants to be alone.

The locks are those of flock(2), on the opened files themselves, so nothing is written: a replica may hold one although
it changes no files, and whoever is killed lets go by that. A mapping keeps its own copy of the descriptor that it was
made of (mmap in CPython), and a lock lasts as long as any copy: so a mapped file is held for as long as it is mapped.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WITHOUT_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
"""What a file system says that has no such locks."""


def share(handle: int, path: Path) -> None:
    """Hold the open file or folder `handle` as one of its readers, until its last copy is closed. Does not block.

    On a file system without locks nothing happens: who deletes finds that out, and deletes nothing.

    Raises:
        AppiaError: somebody is deleting it; `path` names it.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AppiaError(f"{path} is being deleted.") from None
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise


def hold_folder(folder: Path) -> int:
    """Hold a folder as one of its readers; gives a descriptor for `os.close`. Does not block.

    Raises:
        AppiaError: somebody is deleting it, or it is not there.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise AppiaError(f"{folder} is missing: run `appia verify`.") from None
    try:
        share(handle, folder)
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextmanager
def alone_with(folder: Path) -> Iterator[bool]:
    """Whether nobody holds `folder`, or a file anywhere below it; if so nobody can until the block is left.

    Does not block. Raises `OSError` where the file system has no locks: then nobody can know.
    """
    with ExitStack() as held:
        yield all(_taken(path, held) for path in _inside(folder))


def _inside(folder: Path) -> Iterator[str]:
    """A folder and all below it; links are not followed. Nothing where it is gone."""
    for top, _, names in os.walk(folder):
        yield top
        yield from (os.path.join(top, name) for name in names)  # noqa: PTH118 - os.walk gives strings


def _taken(path: str, held: ExitStack) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            return True  # a link or a socket, which holds no bytes of the day
        raise
    held.callback(os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
