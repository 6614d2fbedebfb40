"""Puts a backup into an empty state directory, and checks it there.

Every byte is compared with its SHA-256 while it is written. `VERSION` is written last: without it no service starts on
the directory. A restore that was broken off is taken up by the next one of the same backup.
"""

from __future__ import annotations

import hashlib
import shutil
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.backup.places import is_vacant
from services.common.backup.snapshot import is_secret
from services.common.days.layout import LAYOUT_VERSION
from services.common.days.log import LogReader
from services.common.days.log_format import FEEDBACK, Damage
from services.common.days.names import StateNames
from services.common.days.verify import verify_day
from services.common.errors import AppiaError, UsageError
from services.common.rest.storage_keys import NO_KEYS, open_log_keys, storage_keys_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from services.common.backup.port import BackupStore
    from services.common.backup.snapshot import FileEntry, Snapshot
    from services.common.durable import Disk
    from services.common.rest.log_keys import LogKeys

MARKER = ".restoring"
_VERSION = "VERSION"
_BLOCK = 1 << 20
_SECRET_FOLDER = 0o700
_LONGEST_VERSION = 100


@dataclass(frozen=True)
class RestoreTools:
    """What a restore needs from outside."""

    store: BackupStore
    disk: Disk
    progress: Callable[[int, int], None]  # files written so far, and files in all


@dataclass(frozen=True)
class Restored:
    """What was restored, and what the check found."""

    name: str
    files: int
    bytes: int
    rows: dict[str, int]  # events of each day, as they were found after it
    remarks: int  # of analysts
    missing: tuple[str, ...]  # what the backup has only damaged, one sentence each
    faults: tuple[str, ...]  # what the check found, one sentence each
    keys: bool


class Restoring:
    """One restore. For one thread, inside the store's lock."""

    def __init__(self, snapshot: Snapshot, root: Path, tools: RestoreTools, *, despite_damage: bool) -> None:
        """Write nothing yet. `despite_damage`: leave out what the backup has only damaged, instead of giving up."""
        self._snapshot = snapshot
        self._state = StateNames(root)
        self._tools = tools
        self._despite_damage = despite_damage
        self._missing: list[str] = []

    def run(self) -> Restored:
        """Write everything, check it, and only then make it a state directory.

        Raises:
            UsageError: the directory is not empty.
            AppiaError: the backup is damaged.
            OSError: the disk failed; run it again.
        """
        version = self._layout_version()
        files = [entry for entry in self._snapshot.files if entry.path != _VERSION]
        self._check_room(files)
        self._claim()
        for number, entry in enumerate(files):
            self._tools.progress(number, len(files))
            self._write(entry)
        for folder in {(self._state.root / entry.path).parent for entry in files}:
            self._tools.disk.sync_folder(folder)
        checked = self._check()
        self._tools.disk.write_file(self._state.version, version)
        self._tools.disk.remove(self._state.root / MARKER)
        return checked

    def _layout_version(self) -> bytes:
        """What `VERSION` holds; that of this release where the backup has it damaged and the rest is wanted."""
        content = f"{LAYOUT_VERSION}\n".encode()
        for entry in self._snapshot.files:
            if entry.path == _VERSION:
                try:
                    _check_length(entry)
                    content = b"".join(
                        block for piece in entry.pieces for block in self._tools.store.read(piece)
                    )
                except AppiaError as error:
                    self._note_damage(entry, error)
        layout = content[:40].decode("ascii", "replace").strip()
        if not layout.isdecimal() or int(layout) > LAYOUT_VERSION:
            raise AppiaError(
                f"backup {self._snapshot.name} is of a state directory with layout version {layout!r}, this "
                f"release reads up to {LAYOUT_VERSION}: install the release that made it, {self._snapshot.appia}"
            )
        return content

    def _check_room(self, files: Sequence[FileEntry]) -> None:
        """Refuse what the disk has no room for: a few bytes in a snapshot can stand for any number of them."""
        root = self._state.root
        needed = sum(entry.size for entry in files if not _has_size(root / entry.path, entry.size))
        free = shutil.disk_usage(next(folder for folder in (root, *root.parents) if folder.is_dir())).free
        if needed > free:
            raise AppiaError(
                f"backup {self._snapshot.name} needs {needed:,} bytes more, and {root} has room for {free:,}: free "
                "some space, or name another directory with --state"
            )

    def _claim(self) -> None:
        """Make the directory this restore's own."""
        root, disk = self._state.root, self._tools.disk
        marker = root / MARKER
        if root.exists() and not root.is_dir():
            raise UsageError(f"{root} is not a directory: name another with --state")
        if root.exists() and not is_vacant(root, MARKER):
            self._check_taken_up(marker)
        disk.make_folder(root)
        disk.clear_staged(root)
        disk.calls.chmod(root, disk.FOLDER_MODE)
        disk.write_file(marker, f"{self._snapshot.name}\n".encode())
        # With days and without VERSION it is refused by every service, however little of the rest is there.
        disk.make_folder(root / "days")

    def _check_taken_up(self, marker: Path) -> None:
        # With VERSION it was finished, and may have been in use since.
        if self._state.version.exists() or not marker.is_file():
            raise UsageError(
                f"{self._state.root} is not empty: a restore goes into a new or empty state directory only"
            )
        begun = marker.read_text("ascii", errors="replace").strip()
        if begun != self._snapshot.name:
            raise UsageError(
                f"{self._state.root} holds a part of the backup {begun}: go on with --backup {begun}, or delete it"
            )

    def _write(self, entry: FileEntry) -> None:
        path, disk = self._state.root / entry.path, self._tools.disk
        disk.make_folder(path.parent, _SECRET_FOLDER if is_secret(entry.path) else disk.FOLDER_MODE)
        if not _is_there(path, entry):
            disk.remove(path)
            try:
                with disk.new_file(path) as file:
                    for piece in entry.pieces:
                        for block in self._tools.store.read(piece):
                            file.write(block)
                    file.sync()
            except AppiaError as error:
                disk.remove(path)
                self._note_damage(entry, error)
                return
        disk.calls.chmod(path, entry.mode)

    def _note_damage(self, entry: FileEntry, error: AppiaError) -> None:
        if not self._despite_damage:
            raise AppiaError(
                f"{error}, so {entry.path} cannot be restored: take another backup, or the rest of this one with "
                "--despite-damage"
            ) from None
        self._missing.append(f"{entry.path}: {error}")

    def _check(self) -> Restored:
        """Read all days and remarks whole, and compare the days with what the backup counted."""
        rows: dict[str, int] = {}
        faults: list[str] = []
        keys = self._log_keys(faults)
        for day in self._state.days():
            checked = verify_day(self._state.day(day), keys)
            rows[day] = checked.rows
            faults += checked.faults
        for day, wanted in self._snapshot.rows.items():
            if rows.get(day, 0) != wanted:
                faults.append(
                    f"day {day} has {rows.get(day, 0)} events; there were {wanted} when it was backed up"
                )
        remarks = _count_remarks(self._state)
        if remarks != self._snapshot.remarks:
            faults.append(f"there are {remarks} remarks of analysts; there were {self._snapshot.remarks}")
        return Restored(
            name=self._snapshot.name,
            files=len(self._snapshot.files) - len(self._missing),
            bytes=self._snapshot.size,
            rows=rows,
            remarks=remarks,
            missing=tuple(self._missing),
            faults=tuple(faults),
            keys=self._snapshot.keys,
        )

    def _log_keys(self, faults: list[str]) -> LogKeys:
        """Those that came with the backup: with them the seal of records is checked, not only their checksum."""
        try:
            return open_log_keys(storage_keys_in(self._state.keys), faults.append)
        except AppiaError as error:
            faults.append(str(error))
            return NO_KEYS


def is_begun(root: Path) -> bool:
    """Whether a restore into this directory was begun and is not finished."""
    return (root / MARKER).exists()


def _check_length(version: FileEntry) -> None:
    if version.size > _LONGEST_VERSION:
        raise AppiaError(f"the file {_VERSION} of the backup has {version.size} bytes and is no such file")


def _has_size(path: Path, size: int) -> bool:
    """Whether a restore that was broken off may have written the file already."""
    return path.is_file() and path.stat().st_size == size


def _count_remarks(state: StateNames) -> int:
    """Records of the feedback log whose checksum fits; needs no key."""
    count = 0
    for number in state.feedback_logs():
        with suppress(AppiaError), closing(LogReader(state.feedback_log(number))) as log:
            count += sum(
                not isinstance(found, Damage) and found.type == FEEDBACK for found in log.scan_stored()
            )
    return count


def _is_there(path: Path, entry: FileEntry) -> bool:
    """Whether a restore that was broken off wrote the file whole."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != entry.size:
        return False
    with path.open("rb") as file:
        for piece in entry.pieces:
            digest, left = hashlib.sha256(), piece.bytes
            while left and (block := file.read(min(_BLOCK, left))):
                digest.update(block)
                left -= len(block)
            if left or digest.hexdigest() != piece.sha256:
                return False
    return True
