"""Makes a backup of a state directory, while it is written.

One pass copies what the rules name (`scope.py`) in this order: small files of the run, logs up to their last whole
record, then sealed days and the rest. A second look says whether anything was published meanwhile; if so another pass
follows, which copies only what differs. The pass that finds the same before and after is the backup: of one moment,
as far as days, pointers and segments go, and with every event that was in a log when it began.
"""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from services.common.backup.scope import Kind, Survey, survey
from services.common.backup.snapshot import MODES, FileEntry, Piece, Snapshot
from services.common.days.log import LogReader
from services.common.days.log_format import EVENT, FEEDBACK, Damage, was_begun
from services.common.days.manifest import read_manifest
from services.common.days.names import parse_number, read_pointer
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from services.common.backup.port import BackupStore
    from services.common.backup.scope import Found
    from services.common.days.manifest import Artifact
    from services.common.days.names import StateNames

PIECE = 16 << 20
"""Bytes of a file in one piece, where no manifest says what the whole is: of a log that grew only the end is new."""
MOST_PASSES = 100
_BLOCK = 1 << 20
_BEGINNING = 4096
"""Bytes of a log file that holds no record yet, at most."""
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class BackupTools:
    """What a backup needs from outside."""

    store: BackupStore
    clock: Callable[[], datetime]  # UTC
    progress: Callable[[int, int], None]  # files copied so far, and files in all, of this pass
    release: str  # of appia


@dataclass(frozen=True)
class _Copy:
    """What was copied of a file, and the identity that it had."""

    identity: tuple[str, int, int, int]
    entry: FileEntry
    records: int = 0  # of a log: events, or remarks


@dataclass
class _Pass:
    """What one pass found."""

    files: list[FileEntry] = field(default_factory=list)
    events: dict[tuple[str, int], int] = field(default_factory=dict)  # by day and segment
    rows: dict[str, int] = field(default_factory=dict)  # by day
    remarks: int = 0
    faults: list[str] = field(default_factory=list)


class Copying:
    """One backup of one state directory. For one thread, inside the store's lock."""

    def __init__(self, state: StateNames, tools: BackupTools, *, keys: bool) -> None:
        """Copy nothing yet; secrets are copied only where `keys` says so."""
        self._state = state
        self._tools = tools
        self._keys = keys
        self._copies: dict[str, _Copy] = {}
        self._manifests: dict[Path, Mapping[str, Artifact]] = {}

    def run(self) -> Snapshot:
        """Copy, and commit the snapshot.

        Raises:
            AppiaError: days are published faster than they can be copied.
            OSError: a disk failed. The store is as it was, and has what was copied for the next run.
        """
        begun = self._tools.clock()
        before = self._survey()
        for _ in range(MOST_PASSES):
            done = self._copy(before)
            after = self._survey()
            if after.publication == before.publication:
                break
            before = after
        else:
            raise AppiaError(
                f"{self._state.root} changed during each of {MOST_PASSES} passes: back it up when fewer days are sealed"
            )
        snapshot = self._snapshot(begun, done)
        self._tools.store.commit(snapshot)
        return snapshot

    def _survey(self) -> Survey:
        return survey(self._state.root, keys=self._keys)

    def _snapshot(self, begun: datetime, done: _Pass) -> Snapshot:
        return Snapshot(
            name=_next_name(begun, self._tools.store.names()),
            begun=begun.isoformat(timespec="seconds"),
            ended=self._tools.clock().isoformat(timespec="seconds"),
            source=source_of(self._state),
            appia=self._tools.release,
            keys=self._keys,
            files=tuple(done.files),
            rows=done.rows,
            remarks=done.remarks,
            faults=tuple(done.faults),
        )

    def _copy(self, found: Survey) -> _Pass:
        done = _Pass(faults=list(found.faults))
        for number, file in enumerate(found.files):
            self._tools.progress(number, len(found.files))
            try:
                copy = self._copy_log(file, done) if file.kind is Kind.LOG else self._copy_file(file, done)
            except _ReadError as error:
                # One that vanished because its day was published anew is no fault of the pass that follows.
                done.faults.append(str(error))
                continue
            if copy is not None:
                self._copies[file.path] = copy
                done.files.append(copy.entry)
                _count(done, file.path, copy.records)
        self._note_rows(done)
        return done

    def _copy_file(self, found: Found, done: _Pass) -> _Copy:
        known = self._copies.get(found.path)
        if known is not None and known.identity == found.identity:
            return known
        path = self._state.root / found.path
        wanted = self._artifact(path)
        pieces: tuple[Piece, ...]
        if wanted is None:
            pieces = tuple(self._pieces(path, found.stat.st_size, secret=found.path.startswith("keys/")))
        elif self._tools.store.has(wanted):
            pieces = (wanted,)
        else:
            pieces = (self._tools.store.put_blocks(_blocks(path, _BLOCK)),)
            if pieces != (wanted,):
                done.faults.append(f"{path} is not what its manifest says; it was copied as it is")
                return _Copy(("", 0, 0, 0), FileEntry(found.path, found.stat.st_mode & MODES, pieces))
        return _Copy(found.identity, FileEntry(found.path, found.stat.st_mode & MODES, pieces))

    def _artifact(self, path: Path) -> Piece | None:
        """What the manifest beside a sealed file says of it; None where none does."""
        if path.parent not in self._manifests:
            self._manifests[path.parent] = self._read_artifacts(path.parent)
        named = self._manifests[path.parent].get(path.name)
        return None if named is None else Piece(named.sha256, named.bytes)

    def _read_artifacts(self, folder: Path) -> Mapping[str, Artifact]:
        if "sealed" not in folder.relative_to(self._state.root).parts:
            return {}
        try:
            return read_manifest(folder).artifacts
        except AppiaError:
            return {}  # copied by content then; `appia verify` says what is wrong with it

    def _pieces(self, path: Path, size: int, *, secret: bool, start: int = 0) -> Iterator[Piece]:
        """Put the bytes from `start` to `size` of a file into the store, piece by piece."""
        for data in _blocks(path, PIECE, start, size):
            yield self._tools.store.put(data, secret=secret)

    def _copy_log(self, found: Found, done: _Pass) -> _Copy | None:
        """Copy a log up to its last whole record: what is behind that was never acknowledged."""
        path = self._state.root / found.path
        known = self._copies.get(found.path)
        if known is None or known.identity != found.identity:
            known = _Copy(found.identity, FileEntry(found.path, found.stat.st_mode & MODES, ()))
        try:
            end, records = _whole_records(path, known.entry.size or None)
        except AppiaError as error:
            if found.stat.st_size <= _BEGINNING and not _was_begun(path):
                return None  # it is being made, or a crash came first: it never held a record
            done.faults.append(f"{error}; it was copied as it is")
            return self._copy_file(found, done)
        whole = tuple(piece for piece in known.entry.pieces if piece.bytes == PIECE)
        new = self._pieces(path, end, secret=False, start=len(whole) * PIECE)
        entry = FileEntry(found.path, found.stat.st_mode & MODES, (*whole, *new))
        return _Copy(found.identity, entry, known.records + records)

    def _note_rows(self, done: _Pass) -> None:
        """Count the events of each day as `appia verify` does: those sealed, and those of segments behind them."""
        for day in self._state.days():
            names = self._state.day(day)
            try:
                current = read_pointer(names.current)
                manifest = None if current is None else read_manifest(names.generation(current).chunk)
                through = 0 if manifest is None else int(manifest.facts["through_segment"])
            except (AppiaError, KeyError, TypeError, ValueError) as error:
                done.faults.append(f"day {day} cannot be counted: {error}")
                continue
            opened = (
                count for (of, segment), count in done.events.items() if of == day and segment > through
            )
            done.rows[day] = (0 if manifest is None else manifest.rows) + sum(opened)


class _ReadError(Exception):
    """A file of the state directory cannot be read, unlike one of the store, without which nothing goes on."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path} could not be read ({error.strerror}): it is not in the backup")


def _blocks(path: Path, block: int, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The bytes of a file from `start` to `end` (None: its end), in blocks of so many bytes. Raises `_ReadError`."""
    try:
        with path.open("rb") as file:
            at = file.seek(start)
            while end is None or at < end:
                data = file.read(block if end is None else min(block, end - at))
                if not data:
                    return
                at += len(data)
                yield data
    except OSError as error:
        raise _ReadError(path, error) from None


def source_of(state: StateNames) -> str:
    """What is backed up: the machine's name and the state directory."""
    return f"{socket.gethostname()}:{state.root}"


def _next_name(begun: datetime, names: list[str]) -> str:
    """The time, or a second more than the newest name says: also after the clock was set back none is named before."""
    last = datetime.strptime(names[-1], _TIME).replace(tzinfo=UTC) if names else None
    time = begun if last is None else max(begun, last + timedelta(seconds=1))
    return time.strftime(_TIME)


def _was_begun(path: Path) -> bool:
    try:
        return was_begun(path)
    except OSError as error:
        raise _ReadError(path, error) from None


def _whole_records(path: Path, start: int | None) -> tuple[int, int]:
    """Where the last whole record ends, and how many events and remarks there are from `start` (None: the first) on.

    Needs no key for encrypted logs.

    Raises:
        AppiaError: it is no log, or of a newer release.
        _ReadError: it cannot be read.
    """
    records = 0
    try:
        with closing(LogReader(path)) as log:
            end = log.start if start is None else start
            for found in log.scan_stored(end):
                if isinstance(found, Damage):
                    if found.tail:
                        break
                else:
                    records += found.type in {EVENT, FEEDBACK}
                end = found.end
    except OSError as error:
        raise _ReadError(path, error) from None
    return end, records


def _count(done: _Pass, path: str, records: int) -> None:
    parts = path.split("/")
    if parts[0] == "feedback":
        done.remarks += records
    elif parts[0] == "days" and parts[2] == "open":
        key = parts[1], parse_number(parts[3]) or 0
        done.events[key] = done.events.get(key, 0) + records
