"""Every write, sync, rename and unlink of the product.

One module holds them so that a test can put another `Disk` in its place and fail or lose the n-th operation. The rules
are those of https://www.sqlite.org/atomiccommit.html: data is synced before the name that points at it, and a rename
or a new file counts only after its folder is synced.
"""

from __future__ import annotations

import os
import shutil
import struct
from typing import TYPE_CHECKING

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path

_ROWS = struct.Struct("<QQI")
_GOING = ".going"


class AppendFile:
    """A file that only grows. Not safe for several threads."""

    def __init__(self, path: Path, mode: int) -> None:
        """Open `path` for appending, creating it with permission bits `mode`."""
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode)
        self.size = os.fstat(self._fd).st_size

    def write(self, data: bytes | memoryview) -> int:
        """Append `data` whole and return the offset where it begins. Not durable before `sync`."""
        start = self.size
        view = memoryview(data)
        while view:
            done = os.write(self._fd, view)
            self.size += done
            view = view[done:]
        return start

    def truncate(self, size: int) -> None:
        """Cut the file back to `size` bytes."""
        os.ftruncate(self._fd, size)
        self.size = size

    def sync(self) -> None:
        """Block until the data is on disk (`fdatasync`). An error here means the data may be lost for good."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file; what was not synced may still be lost in a power cut."""
        os.close(self._fd)


class PatchFile:
    """Replaces bytes inside a file that is there. Who maps the file sees each byte as it was or as it is now."""

    def __init__(self, path: Path) -> None:
        """Open `path` for writing."""
        self._fd = os.open(path, os.O_WRONLY)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put `data` at `offset`. Not durable before `sync`."""
        view = memoryview(data)
        while view:
            done = os.pwrite(self._fd, view, offset)
            offset, view = offset + done, view[done:]

    def sync(self) -> None:
        """Block until the data is on disk (`fdatasync`)."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class CountFile:
    """Two committed counters (rows and items) that readers in other processes poll.

    On disk: `u64 rows | u64 items | u32 crc32 of the first 16 bytes`, little endian, written by one `pwrite`.
    """

    def __init__(self, path: Path, mode: int) -> None:
        """Open or create the file at `path`."""
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT, mode)

    def write(self, rows: int, items: int) -> None:
        """Publish both counters. What they count must be synced before."""
        os.pwrite(self._fd, pack_counts(rows, items), 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def pack_counts(rows: int, items: int) -> bytes:
    """The 20 bytes that a `CountFile` holds."""
    head = _ROWS.pack(rows, items, 0)[:16]
    return head + struct.pack("<I", _crc(head))


def read_counts(path: Path) -> tuple[int, int]:
    """Read `(rows, items)`; `(0, 0)` where the file is absent, and the last try's result is checked by its crc.

    Raises:
        AppiaError: the file is damaged.
    """
    for _ in range(8):
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return 0, 0
        if not raw:
            return 0, 0
        if len(raw) == _ROWS.size:
            rows, items, crc = _ROWS.unpack(raw)
            if crc == _crc(raw[:16]):
                return rows, items
    raise AppiaError(
        f"{path} is damaged (its checksum does not fit): stop the ingester, delete the file, start again"
    )


def _crc(head: bytes) -> int:
    import zlib  # noqa: PLC0415 - only needed here, and zlib.crc32 needs no seed

    return zlib.crc32(head)


class Disk:
    """The real disk. Blocking; raises `OSError` as the system gives it."""

    FILE_MODE = 0o640
    SEALED_MODE = 0o444

    def make_folder(self, path: Path, mode: int = 0o750) -> None:
        """Create `path` and its parents, and sync the folder that holds it."""
        if not path.is_dir():
            path.mkdir(mode=mode, parents=True, exist_ok=True)
            self.sync_folder(path.parent)

    def append_to(self, path: Path) -> AppendFile:
        """Open a growing file; a new one is made durable as a name at once."""
        new = not path.exists()
        file = AppendFile(path, self.FILE_MODE)
        if new:
            self.sync_folder(path.parent)
        return file

    def patch(self, path: Path) -> PatchFile:
        """Open a file to replace bytes inside it."""
        return PatchFile(path)

    def counts(self, path: Path) -> CountFile:
        """Open a file of committed counters."""
        return CountFile(path, self.FILE_MODE)

    def write_file(self, path: Path, data: bytes, mode: int = FILE_MODE) -> None:
        """Put `data` at `path` so that a reader or a crash finds the old content or the new, never a part."""
        staged = path.with_name(f".{path.name}.{os.getpid()}.staged")
        fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        staged.replace(path)
        self.sync_folder(path.parent)

    def publish(self, staged: Path, final: Path) -> None:
        """Make the folder `staged` appear as `final`: sync all it holds, make it read-only, rename, sync the parent."""
        for folder, _, names in os.walk(staged, topdown=False):
            for name in names:
                self.sync_file(os.path.join(folder, name))  # noqa: PTH118 - os.walk gives strings
                os.chmod(os.path.join(folder, name), self.SEALED_MODE)  # noqa: PTH101, PTH118 - the same
            self.sync_folder(folder)
        staged.rename(final)
        self.sync_folder(final.parent)

    def sync_file(self, path: Path | str) -> None:
        """Block until the content of `path` is on disk."""
        self.sync_folder(path)

    def sync_folder(self, path: Path | str) -> None:
        """Block until the names in the folder `path` are on disk."""
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        """Delete a file or a folder with all it holds; nothing happens where it is gone already.

        A folder vanishes by one rename, so that nobody who follows it ever sees a part of it. What a crash leaves of it
        then is named `.NAME.going` and is for `clear_going`.
        """
        if path.is_dir():
            going = path.with_name(f".{path.name}{_GOING}")
            if going.exists():
                shutil.rmtree(going)
            path.rename(going)
            shutil.rmtree(going)
        else:
            path.unlink(missing_ok=True)

    def clear_going(self, folder: Path) -> None:
        """Delete what a crash left of folders in `folder` that were being removed."""
        for left in folder.glob(f".*{_GOING}"):
            shutil.rmtree(left)
