"""Every write, sync, rename and unlink of the product.

`Disk` knows the rules, and does everything through the port `SystemCalls`.

The rules are those of https://www.sqlite.org/atomiccommit.html: data is synced before the name that points at it, and
a rename or a new file counts only after its folder is synced.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Protocol, Self

from services.common.counts import pack_counts
from services.common.system_calls import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from services.common.system_calls import SystemCalls

_GOING = ".going"
_STAGED = ".staged"


class SyncFailed(OSError):  # noqa: N818 - what happened, as the system's own errors are named
    """A sync failed: what it was for may be lost, although who reads the file is still shown it.

    Never tried again: the next one succeeds and syncs nothing (https://wiki.postgresql.org/wiki/Fsync_Errors).
    """


def is_full(error: BaseException | None) -> bool:
    """Whether an error says that the disk, or what one may use of it, is full. A failed sync is more than that."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full and not isinstance(error, SyncFailed)


def _sync(call: Callable[[int], None], fd: int) -> None:
    try:
        call(fd)
    except OSError as error:
        raise SyncFailed(error.errno, error.strerror) from error


def write_all(calls: SystemCalls, fd: int, data: bytes | memoryview) -> int:
    """Write all of `data`, however often it takes; gives the number of bytes."""
    view = memoryview(data)
    size = len(view)
    while view:
        view = view[calls.write(fd, view) :]
    return size


class _OpenFile(ABC):
    """Closed at the end of a `with` block."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class NewFile(_OpenFile):
    """A file that is being made, for one writer. It is durable after `sync` of the file and then of its folder."""

    def __init__(self, calls: SystemCalls, path: Path, mode: int) -> None:
        """Create `path` with permission bits `mode`; what was there is cut to nothing."""
        self._calls = calls
        self._fd = calls.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes whole; gives how many."""
        return write_all(self._calls, self._fd, data)

    def sync(self) -> None:
        """Block until the content is on disk (`fsync`)."""
        _sync(self._calls.sync, self._fd)

    def close(self) -> None:
        """Close the file; it is not synced by that."""
        self._calls.close(self._fd)


class AppendFile(_OpenFile):
    """A file that only grows. Not safe for several threads."""

    def __init__(self, calls: SystemCalls, path: Path, mode: int) -> None:
        """Open `path` for appending, creating it with permission bits `mode`."""
        self.path = path
        self._calls = calls
        self._fd = calls.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode)
        self.size = self._synced = os.fstat(self._fd).st_size

    def write(self, data: bytes | memoryview) -> int:
        """Append `data` whole and return the offset where it begins. Not durable before `sync`."""
        start = self.size
        view = memoryview(data)
        while view:
            done = self._calls.write(self._fd, view)
            self.size += done
            view = view[done:]
        return start

    def truncate(self, size: int) -> None:
        """Cut the file back to `size` bytes."""
        self._calls.truncate(self._fd, size)
        self.size = size
        self._synced = min(self._synced, size)

    def sync(self) -> None:
        """Block until the data is on disk (`fdatasync`).

        Where that fails, what was appended since the last time is cut off, if the system lets that be done: who opens
        the file next would read it from memory, and build on what the disk has lost.

        Raises:
            SyncFailed: the data may be lost for good.
        """
        try:
            _sync(self._calls.sync_data, self._fd)
        except SyncFailed:
            with suppress(OSError):
                self.truncate(self._synced)
            raise
        self._synced = self.size

    def close(self) -> None:
        """Close the file; what was not synced may still be lost in a power cut."""
        self._calls.close(self._fd)


class PatchFile(_OpenFile):
    """Replaces bytes inside a file that is there. Who maps the file sees each byte as it was or as it is now."""

    def __init__(self, calls: SystemCalls, path: Path, flags: int = 0) -> None:
        """Open `path` for writing; `flags` may say to create it (`os.O_CREAT`)."""
        self._calls = calls
        self._fd = calls.open(path, os.O_WRONLY | flags)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put `data` at `offset`. Not durable before `sync`."""
        view = memoryview(data)
        while view:
            done = self._calls.pwrite(self._fd, view, offset)
            offset, view = offset + done, view[done:]

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        self._calls.truncate(self._fd, size)

    def sync(self) -> None:
        """Block until the data is on disk (`fdatasync`)."""
        _sync(self._calls.sync_data, self._fd)

    def close(self) -> None:
        """Close the file."""
        self._calls.close(self._fd)


class CountFile(_OpenFile):
    """Two committed counters that readers in other processes poll, as `counts` has them; written by one `pwrite`."""

    def __init__(self, calls: SystemCalls, path: Path, mode: int) -> None:
        """Open or create the file at `path`."""
        self._calls = calls
        self._fd = calls.open(path, os.O_WRONLY | os.O_CREAT, mode)

    def write(self, rows: int, items: int) -> None:
        """Publish both counters. What they count must be synced before."""
        self._calls.pwrite(self._fd, pack_counts(rows, items), 0)

    def sync(self) -> None:
        """Block until the counters are on disk (`fdatasync`): before what they counted goes."""
        _sync(self._calls.sync_data, self._fd)

    def close(self) -> None:
        """Close the file."""
        self._calls.close(self._fd)


class Closes(Protocol):
    """What has to be closed."""

    def close(self) -> None:
        """Give everything back."""


class Disk:
    """What the product does with files, by the rules. Blocking; raises `OSError` as the system gives it."""

    FILE_MODE = 0o640
    SEALED_MODE = 0o444
    FOLDER_MODE = 0o750

    def __init__(self, calls: SystemCalls = SYSTEM) -> None:
        """Work through `calls`, the real ones by default."""
        self.calls = calls

    def make_folder(self, path: Path, mode: int = FOLDER_MODE) -> None:
        """Create `path` and its parents, and sync each folder that got a new name.

        So does the first that is there: who made it may have been killed before it could sync its name.
        """
        if path.is_dir():
            with suppress(PermissionError):  # who may not even list the folder above made nothing in it
                self.sync_folder(path.parent)
            return
        self.make_folder(path.parent, mode)
        try:
            self.calls.mkdir(path, mode)
        except FileExistsError:
            if not path.is_dir():
                raise
        self.sync_folder(path.parent)

    def append_to(self, path: Path, mode: int = FILE_MODE) -> AppendFile:
        """Open a growing file; a new one is made durable as a name at once."""
        new = not path.exists()
        file = AppendFile(self.calls, path, mode)
        self._sync_name(file, path, new=new)
        return file

    def new_file(self, path: Path, mode: int = FILE_MODE) -> NewFile:
        """Make a file inside a folder that is not published yet; `publish` makes it durable."""
        return NewFile(self.calls, path, mode)

    def put(self, path: Path, data: bytes | memoryview, mode: int = FILE_MODE) -> None:
        """Make a file with this content inside a folder that is not published yet; `publish` makes it durable."""
        with self.new_file(path, mode) as file:
            file.write(data)

    def patch(self, path: Path) -> PatchFile:
        """Open a file to replace bytes inside it."""
        return PatchFile(self.calls, path)

    def patch_or_create(self, path: Path) -> PatchFile:
        """As `patch`; where there is no file, an empty one is made durable as a name."""
        new = not path.exists()
        file = PatchFile(self.calls, path, os.O_CREAT)
        self._sync_name(file, path, new=new)
        return file

    def _sync_name(self, file: AppendFile | PatchFile, path: Path, *, new: bool) -> None:
        """Make the name of a new file durable; a file for which that fails is closed."""
        try:
            if new:
                self.sync_folder(path.parent)
        except OSError:
            file.close()
            raise

    def lock_file(self, path: Path) -> int:
        """Open a file to lock it by flock(2), made where there is none; gives a descriptor for `os.close`.

        It holds nothing that has to survive.
        """
        return self.calls.open(path, os.O_RDWR | os.O_CREAT, self.FILE_MODE)

    def counts(self, path: Path) -> CountFile:
        """Open a file of committed counters."""
        return CountFile(self.calls, path, self.FILE_MODE)

    def write_file(self, path: Path, data: bytes, mode: int = FILE_MODE) -> None:
        """Put `data` at `path` so that a reader or a crash finds the old content or the new, never a part.

        One writer at a time: what a crash left of another writing is deleted.
        """
        staged = path.with_name(f".{path.name}{_STAGED}")
        if os.path.lexists(staged):
            self.calls.unlink(staged)
        with self.new_file(staged, mode) as file:
            file.write(data)
            file.sync()
        self.calls.rename(staged, path)
        self.sync_folder(path.parent)

    def publish(self, staged: Path, final: Path) -> None:
        """Make the folder `staged` appear as `final`: sync all it holds, make it read-only, rename, sync the parent."""
        for folder, _, names in os.walk(staged, topdown=False):
            for name in names:
                self.sync_file(os.path.join(folder, name))  # noqa: PTH118 - os.walk gives strings
                self.calls.chmod(os.path.join(folder, name), self.SEALED_MODE)  # noqa: PTH118 - the same
            self.sync_folder(folder)
        self.calls.rename(staged, final)
        self.sync_folder(final.parent)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file or folder, which is synced, its final name; durable when this returns."""
        self.calls.rename(old, new)
        self.sync_folder(new.parent)

    def sync_file(self, path: Path | str) -> None:
        """Block until the content of `path` is on disk."""
        self.sync_folder(path)

    def sync_folder(self, path: Path | str) -> None:
        """Block until the names in the folder `path` are on disk."""
        fd = self.calls.open(path, os.O_RDONLY)
        try:
            _sync(self.calls.sync, fd)
        finally:
            self.calls.close(fd)

    def remove(self, path: Path) -> None:
        """Delete a file or a folder with all it holds; nothing happens where it is gone already.

        A folder vanishes by one rename, which is synced before anything in it goes, so that nobody ever sees a part of
        it, not even after a power cut. What a crash leaves of it is named `.NAME.going` and is for `clear_going`.
        """
        if path.is_dir() and not path.is_symlink():
            going = path.with_name(f".{path.name}{_GOING}")
            if going.exists():
                self._remove_tree(going)
            self.rename(path, going)
            self._remove_tree(going)
        elif os.path.lexists(path):
            self.calls.unlink(path)

    def clear_going(self, folder: Path) -> None:
        """Delete what a crash left of folders in `folder` that were being removed."""
        for left in folder.glob(f".*{_GOING}"):
            self._remove_tree(left)

    def clear_staged(self, folder: Path) -> None:
        """Delete what a crash left of files in `folder` that were being replaced. For the one writer of `folder`."""
        for left in folder.glob(f".*{_STAGED}"):
            self.calls.unlink(left)

    def _remove_tree(self, top: Path) -> None:
        for path, is_folder in _deepest_first(top):
            if is_folder:
                self.calls.rmdir(path)
            else:
                self.calls.unlink(path)


REAL = Disk()
"""The real disk; it holds no state."""


def _deepest_first(top: Path) -> Iterator[tuple[str, bool]]:
    """Everything below a folder and the folder itself, and whether it is a folder; links are not followed."""
    for folder, folders, names in os.walk(top, topdown=False):
        for name in names:
            yield os.path.join(folder, name), False  # noqa: PTH118 - os.walk gives strings
        for name in folders:
            path = os.path.join(folder, name)  # noqa: PTH118 - the same
            if os.path.islink(path):  # noqa: PTH114 - the same
                yield path, False
        yield folder, True


def close_all(files: Iterable[Closes]) -> None:
    """Close all of them, also where closing one fails; the first failure is raised when all are closed."""
    with ExitStack() as closing:
        for file in reversed(list(files)):
            closing.callback(file.close)
