"""Backups in a folder.

FOLDER/appia-backup.json          what the folder is: {"format": 1}
FOLDER/pieces/ab/ab12...          content, named by its SHA-256; never changed
FOLDER/incoming/piece             a piece that is being written
FOLDER/snapshots/NAME.json        what a backup holds (`snapshot.py`); written last
FOLDER/lock                       locked by who writes, and shared by who reads

Two backups share every piece that they have in common. What a broken backup left are pieces that no snapshot names:
the next one finds them there, and `prune` takes what is left.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.common.backup.places import is_vacant
from services.common.backup.snapshot import Piece, is_name, parse_snapshot
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from services.common.backup.snapshot import Snapshot
    from services.common.durable import Disk

MARKER = "appia-backup.json"
FORMAT = b'{"format": 1}\n'
BLOCK = 1 << 20
PIECE_MODE, SECRET_MODE = 0o440, 0o400
DAMAGED = ".damaged"


class FolderStore:
    """A `BackupStore` in a folder. Write only inside `writing`, read only inside that or `reading`."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        """Look at nothing yet."""
        self._disk = disk
        self.folder = folder
        self._pieces = folder / "pieces"
        self._snapshots = folder / "snapshots"
        self._incoming = folder / "incoming"

    @contextmanager
    def writing(self, *, make: bool = True) -> Iterator[None]:
        """Be the only one at the folder, and clear what a crash left; `make` it where it is missing or empty.

        Raises:
            UsageError: it is no folder for backups, or the folder that should hold it is missing.
            AppiaError: another process works with it.
        """
        if make:
            self._make()
        self._check()
        with self._locked(fcntl.LOCK_EX, os.O_RDWR):
            for left in self._incoming.iterdir():
                self._disk.remove(left)
            self._disk.clear_staged(self._snapshots)
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold off who would change the folder. It may be mounted read-only.

        Raises:
            UsageError: it is no folder for backups.
            AppiaError: another process writes it.
        """
        self._check()
        with self._locked(fcntl.LOCK_SH, os.O_RDONLY):
            yield

    def _make(self) -> None:
        if not self.folder.parent.is_dir():
            raise UsageError(f"{self.folder.parent} is missing: make it, or mount what should be there")
        if not self.folder.exists() or is_vacant(self.folder, MARKER):
            self._disk.make_folder(self.folder)
            self._disk.clear_staged(self.folder)
            self._disk.write_file(self.folder / MARKER, FORMAT)
        self._check()  # before anything is put into a folder of something else
        for folder in (self._pieces, self._snapshots, self._incoming):
            self._disk.make_folder(folder)

    def _check(self) -> None:
        try:
            found = (self.folder / MARKER).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(
                f"{self.folder} is no folder for backups: name one that `appia backup` made, or a new one"
            ) from None
        if found != FORMAT:
            raise AppiaError(
                f"{self.folder / MARKER} is damaged or of a newer release: install a newer appia"
            )

    @contextmanager
    def _locked(self, how: int, flags: int) -> Iterator[None]:
        path = self.folder / "lock"
        writes = how == fcntl.LOCK_EX
        try:
            fd = self._disk.calls.open(path, flags | (os.O_CREAT if writes else 0))
        except FileNotFoundError:
            raise UsageError(f"{self.folder} holds no backup yet") from None
        try:
            self._lock(fd, how)
            yield
        finally:
            self._disk.calls.close(fd)

    def _lock(self, fd: int, how: int) -> None:
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AppiaError(f"another process works with {self.folder}: wait for its end") from None

    def _path(self, sha256: str) -> Path:
        return self._pieces / sha256[:2] / sha256

    def has(self, piece: Piece) -> bool:
        """See `BackupStore.has`."""
        try:
            return self._path(piece.sha256).stat().st_size == piece.bytes
        except FileNotFoundError:
            return False

    def put(self, data: bytes, *, secret: bool) -> Piece:
        """See `BackupStore.put`."""
        piece = Piece(hashlib.sha256(data).hexdigest(), len(data))
        if self.has(piece):
            return piece
        return self._write((data,), SECRET_MODE if secret else PIECE_MODE)

    def put_blocks(self, blocks: Iterable[bytes]) -> Piece:
        """See `BackupStore.put_blocks`."""
        return self._write(blocks, PIECE_MODE)

    def _write(self, blocks: Iterable[bytes], mode: int) -> Piece:
        incoming = self._incoming / "piece"
        digest, size = hashlib.sha256(), 0
        self._disk.remove(incoming)  # of content that could not be read to its end
        with self._disk.new_file(incoming, mode) as file:
            for block in blocks:
                digest.update(block)
                size += file.write(block)
            file.sync()
        final = self._path(digest.hexdigest())
        self._disk.make_folder(final.parent)
        self._disk.calls.rename(incoming, final)  # its folder is synced by `commit`, once for all pieces
        return Piece(final.name, size)

    def read(self, piece: Piece) -> Iterator[bytes]:
        """See `BackupStore.read`."""
        path = self._path(piece.sha256)
        if not path.is_file():  # a named pipe in its place would never end
            raise AppiaError(f"{path} is missing")
        digest, size = hashlib.sha256(), 0
        try:
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
                    size += len(block)
                    if size > piece.bytes:
                        break
                    yield block
        except FileNotFoundError:
            raise AppiaError(f"{path} is missing") from None
        if (digest.hexdigest(), size) != (piece.sha256, piece.bytes):
            raise AppiaError(f"{path} is damaged: it is not what its name says")

    def names(self) -> list[str]:
        """See `BackupStore.names`."""
        found = (path.stem for path in self._snapshots.glob("*.json") if path.is_file())
        return sorted(name for name in found if is_name(name))

    def snapshot(self, name: str) -> Snapshot:
        """See `BackupStore.snapshot`."""
        path = self._snapshots / f"{name}.json"
        if name not in self.names():
            raise AppiaError(f"{self.folder} has no backup {name!r}: `--list` shows those there are")
        found = parse_snapshot(path.read_bytes(), str(path))
        if found.name != name:
            raise AppiaError(f"{path} is the snapshot of another backup, {found.name}: it was renamed")
        return found

    def commit(self, snapshot: Snapshot) -> None:
        """See `BackupStore.commit`."""
        # Every folder, not only those of this run: a run that was killed may have left a name that is not on disk yet.
        for folder in self._pieces.iterdir():
            self._disk.sync_folder(folder)
        self._disk.write_file(self._snapshots / f"{snapshot.name}.json", snapshot.to_json())

    def prune(self, names: Sequence[str]) -> int:
        """See `BackupStore.prune`; raises `AppiaError` before anything is removed where a snapshot cannot be read."""
        kept = [self.snapshot(name) for name in self.names() if name not in names]
        needed = {piece.sha256 for snapshot in kept for entry in snapshot.files for piece in entry.pieces}
        for name in names:
            self._disk.remove(self._snapshots / f"{name}.json")
        self._disk.sync_folder(self._snapshots)  # no snapshot may come back whose pieces are gone
        freed = 0
        for folder in self._pieces.iterdir():
            for path in folder.iterdir():
                if path.name not in needed:
                    freed += path.stat().st_size
                    self._disk.remove(path)
        return freed

    def set_aside(self, piece: Piece) -> None:
        """Rename a damaged piece, so that the next backup copies it again where the original is still there."""
        path = self._path(piece.sha256)
        if path.exists():
            self._disk.rename(path, path.with_name(path.name + DAMAGED))
