"""System calls that remember what they did, that fail when told to, and that end with the process they stand for."""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.common.system_calls import SystemCalls

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Open:
    """A file or folder was opened; `handle` stands for it in what follows, whatever it is called by then."""

    handle: int
    path: str
    created: bool
    cut: bool  # O_TRUNC on a file that was there
    mode: int


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes came to an offset."""

    handle: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file got a size."""

    handle: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A file or folder was synced; `whole` is false for fdatasync.

    `found` is the content of a file that was opened to be synced only, whoever wrote it.
    """

    handle: int
    found: bytes | None = None
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Rename:
    """A name was changed."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Unlink:
    """A name of a file, or an empty folder, went."""

    path: str


@dataclass(frozen=True, slots=True)
class Mkdir:
    """A folder was made."""

    path: str
    mode: int


@dataclass(frozen=True, slots=True)
class Chmod:
    """Permission bits were changed."""

    path: str
    mode: int


@dataclass(frozen=True, slots=True)
class Library:
    """What a library has in its own files at this moment, by path; what it synced of them is its own affair."""

    files: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class SyncFailed:
    """A file or folder could not be synced. What was written to it is lost, and still there for who reads it.

    That is what Linux does (https://wiki.postgresql.org/wiki/Fsync_Errors): the pages count as clean from then on.
    """

    handle: int


Operation = Open | Write | Truncate | Sync | SyncFailed | Rename | Unlink | Mkdir | Chmod | Library


@dataclass
class Tape:
    """Operations in their order, with paths below `top`, and notes of what was known when so many were done."""

    top: Path
    operations: list[Operation] = field(default_factory=list)
    notes: list[tuple[int, str, Any]] = field(default_factory=list)
    handles: int = 0

    def note(self, kind: str, what: Any) -> None:
        """Note something that holds from this moment on."""
        self.notes.append((len(self.operations), kind, what))

    def place(self, path: Path | str) -> str | None:
        """A path as the tape has it, "" for `top` itself; None for one that is not below it."""
        text, top = os.path.abspath(path), str(self.top)  # noqa: PTH100 - no link is to be followed
        return text[len(top) + 1 :] if text == top or text.startswith(f"{top}/") else None


FULL = (errno.ENOSPC, errno.EDQUOT)


class Killed(BaseException):
    """The process was killed before the operation."""


class RecordingCalls(SystemCalls):
    """Does what it is asked to, and writes it on a tape. Stands for one process: after `kill` it changes nothing more.

    Threads take turns, so that the tape has them in the order in which they came to the disk.
    """

    def __init__(self, tape: Tape, kill_after: int | None = None) -> None:
        """Record on `tape`; the process is killed before its operation number `kill_after`, counted from 0."""
        self.tape = tape
        self._left = kill_after
        self._turn = threading.RLock()
        self._files: dict[
            int, tuple[int, bool, bool]
        ] = {}  # fd: handle, whether it appends, whether only read
        self._open: set[int] = set()
        self.is_dead = False

    def kill(self) -> None:
        """End the process: what its threads still try is not done, and raises nothing."""
        with self._turn:
            self.is_dead = True

    def left_open(self) -> list[str]:
        """The files that are open still, by their paths."""
        links = [f"/proc/self/fd/{fd}" for fd in self._files]
        found = [os.readlink(link) for link in links if os.path.islink(link)]  # noqa: PTH114, PTH115 - no paths
        return [path for path in found if self.tape.place(path) is not None]

    def bury(self) -> None:
        """Give back the files that the process left open, and with them its locks, when nothing of it runs any more."""
        for fd in self._files:
            with suppress(OSError):
                if self.tape.place(os.readlink(f"/proc/self/fd/{fd}")) is not None:  # noqa: PTH115 - no path
                    os.close(fd)
        self._files.clear()
        self._open.clear()

    def _step(self, operation: Operation) -> None:
        self.tape.operations.append(operation)

    def _fail(self, kind: str, fd: int) -> None:
        """Raise what the operation is to fail with; here none does."""

    def _live(self, kind: str, fd: int = -1) -> bool:
        """Whether the process lives. The operation at which it is killed raises `Killed`; later ones do nothing."""
        if self.is_dead:
            return False
        self._fail(kind, fd)
        if self._left is not None:
            if not self._left:
                self.is_dead = True
                raise Killed
            self._left -= 1
        return True

    def open(self, path: Path | str, flags: int, mode: int = 0o640) -> int:
        """See `SystemCalls`."""
        with self._turn:
            if not self._live("open"):
                raise OSError(errno.EIO, "the process is gone")
            created = bool(flags & os.O_CREAT) and not os.path.lexists(path)
            fd = super().open(path, flags, mode)
            self._open.add(fd)
            place = self.tape.place(path)
            if place is not None:
                self.tape.handles += 1
                only_read = not flags & (os.O_WRONLY | os.O_RDWR)
                self._files[fd] = self.tape.handles, bool(flags & os.O_APPEND), only_read
                self._step(Open(self.tape.handles, place, created, bool(flags & os.O_TRUNC), mode))
            return fd

    def close(self, fd: int) -> None:
        """See `SystemCalls`."""
        with self._turn:
            self._files.pop(fd, None)
            if fd in self._open:  # one that was given back before may be somebody else's by now
                self._open.remove(fd)
                super().close(fd)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """See `SystemCalls`."""
        with self._turn:
            if not self._live("write", fd):
                return len(data)
            known = self._files.get(fd)
            at = os.fstat(fd).st_size if known and known[1] else os.lseek(fd, 0, os.SEEK_CUR)
            done = super().write(fd, data)
            if known:
                self._step(Write(known[0], at, bytes(data[:done])))
            return done

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """See `SystemCalls`."""
        with self._turn:
            if not self._live("write", fd):
                return len(data)
            done = super().pwrite(fd, data, offset)
            if fd in self._files:
                self._step(Write(self._files[fd][0], offset, bytes(data[:done])))
            return done

    def truncate(self, fd: int, size: int) -> None:
        """See `SystemCalls`."""
        with self._turn:
            if self._live("truncate", fd):
                super().truncate(fd, size)
                if fd in self._files:
                    self._step(Truncate(self._files[fd][0], size))

    def sync(self, fd: int) -> None:
        """See `SystemCalls`. The disk is not asked: what it would keep is for the replay to say."""
        self._sync(fd, whole=True)

    def sync_data(self, fd: int) -> None:
        """See `SystemCalls`."""
        self._sync(fd, whole=False)

    def _sync(self, fd: int, *, whole: bool) -> None:
        with self._turn:
            if self._live("sync", fd) and fd in self._files:
                handle, _, only_read = self._files[fd]
                self._step(Sync(handle, _content(fd) if only_read else None, whole))

    def rename(self, old: Path | str, new: Path | str) -> None:
        """See `SystemCalls`."""
        with self._turn:
            if self._live("rename"):
                super().rename(old, new)
                before, after = self.tape.place(old), self.tape.place(new)
                if before is not None and after is not None:
                    self._step(Rename(before, after))

    def unlink(self, path: Path | str) -> None:
        """See `SystemCalls`."""
        self._change(super().unlink, path, Unlink)

    def rmdir(self, path: Path | str) -> None:
        """See `SystemCalls`."""
        self._change(super().rmdir, path, Unlink)

    def mkdir(self, path: Path | str, mode: int) -> None:
        """See `SystemCalls`."""
        self._change(lambda folder: SystemCalls.mkdir(self, folder, mode), path, lambda p: Mkdir(p, mode))

    def chmod(self, path: Path | str, mode: int) -> None:
        """See `SystemCalls`."""
        self._change(lambda file: SystemCalls.chmod(self, file, mode), path, lambda p: Chmod(p, mode))

    def _change(
        self, work: Callable[[Path | str], None], path: Path | str, operation: Callable[[str], Operation]
    ) -> None:
        with self._turn:
            if self._live("name"):
                work(path)
                place = self.tape.place(path)
                if place is not None:
                    self._step(operation(place))

    def written_by_library(self, path: Path | str) -> None:
        """Read the database and its write-ahead log as they are now."""
        with self._turn:
            if self.is_dead:
                return
            place = self.tape.place(path)
            found = [(f"{path}{end}", f"{place}{end}") for end in ("", "-wal")]
            if place is not None:
                files = [(name, Path(file).read_bytes()) for file, name in found if Path(file).exists()]
                self._step(Library(tuple(files)))


class FailingCalls(RecordingCalls):
    """As `RecordingCalls`, with one operation that fails, or that and all after it.

    A disk that is full takes a part of a write before it fails.
    """

    def __init__(self, tape: Tape, fail_at: int, error: int, *, forever: bool = False) -> None:
        """Let operation number `fail_at`, counted from 0, fail with the number `error` of errno.h."""
        super().__init__(tape)
        self._at, self._error, self._forever = fail_at, error, forever
        self.count = 0
        self._short = False
        self.failed = 0

    def _fail(self, kind: str, fd: int) -> None:
        number, self.count = self.count, self.count + 1
        if number != self._at and not (self._forever and number > self._at) and not self._short:
            return
        if kind == "write" and self._error in FULL and not self._short and self.failed == 0:
            self._short = True  # this one is cut short, and the next fails
            return
        self._short = False
        self.failed += 1
        if kind == "sync" and fd in self._files:
            self.tape.operations.append(SyncFailed(self._files[fd][0]))
        raise OSError(self._error, os.strerror(self._error))

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """See `SystemCalls`."""
        with self._turn:
            before = self._short
            if self.count == self._at and not before and self._error in FULL and len(data) > 1:
                return super().write(fd, data[: len(data) // 2])
            return super().write(fd, data)


def _content(fd: int) -> bytes | None:
    status = os.fstat(fd)
    return os.pread(fd, status.st_size, 0) if stat.S_ISREG(status.st_mode) else None
