"""Watches folders for artifacts of the sensors: event_*.pb, event_*.pb.enc and growing *.jsonl. Changes nothing there.

What was taken in is remembered in one JSON file; where that is lost, everything is read again and known as duplicates.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.common.durable import SyncFailed
from services.common.errors import AppiaError
from services.common.events.artifacts import event_from_record
from services.common.events.parse import Refused, node_of
from services.common.wire.body import MAX_BODY_BYTES, MAX_FRAME_BYTES
from services.common.wire.refusals import FrameRefused
from services.ingester.receiver import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from services.common.durable import Disk
    from services.common.wire.v1 import V1Opener

_LOOK_EVERY_S = 1.0
_SETTLED_S = 1.0
"""A file of one event is read once it has not changed for so long, so that it is whole."""
_BATCH_EVENTS = 256
_LONGEST_LINE = 1 << 20

Mark = tuple[int, int]
"""For a file of one event: size and mtime in ns. For lines: bytes read and the inode."""


@dataclass
class _Found:
    """Events and refusals of some files, and the marks that hold once they are durable."""

    payloads: list[bytes] = field(default_factory=list)
    refusals: list[tuple[str, str, bytes]] = field(default_factory=list)
    marks: dict[str, Mark] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.payloads) + len(self.refusals)


@dataclass(frozen=True)
class WatchTools:
    """What watching needs from outside."""

    disk: Disk
    opener: V1Opener
    submit: Callable[[Batch], None]
    report: Callable[[str, dict[str, Any]], None]


class FolderWatch:
    """Looks into folders every second. `run` is the body of its thread."""

    def __init__(self, folders: Sequence[Path], memory: Path, tools: WatchTools) -> None:
        """Remember what was read in the file `memory`.

        Raises:
            AppiaError: `memory` is damaged.
        """
        self._folders = folders
        self._memory = memory
        self._tools = tools
        self._marks = _read_marks(memory)
        self._saved = dict(self._marks)
        self._unreadable: set[Path] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def run(self) -> None:
        """Look until stopped."""
        while not self._stop.wait(_LOOK_EVERY_S):
            try:
                self._look()
                self._save()
            except SyncFailed:
                raise
            except OSError as error:
                self._tools.report("watch_failed", {"error": str(error)})

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stop.set()

    def _look(self) -> None:
        for folder in self._folders:
            found = _Found()
            for path in sorted(folder.rglob("*")):
                if self._stop.is_set():
                    return
                for part in self._read_if_possible(path):
                    _merge(found, part)
                    if len(found) >= _BATCH_EVENTS:
                        self._submit(found, folder)
                        found = _Found()
            if found.marks:
                self._submit(found, folder)

    def _submit(self, found: _Found, folder: Path) -> None:
        done = threading.Event()
        self._tools.submit(Batch(found.payloads, f"folder {folder}", done.set, found.refusals))
        while not done.wait(0.2):
            if self._stop.is_set():
                return
        with self._lock:
            self._marks.update(found.marks)

    def _read_if_possible(self, path: Path) -> Iterator[_Found]:
        """What `_read` gives; what cannot be read is named in the log once, and holds up no other file."""
        try:
            yield from self._read(path)
        except OSError as error:
            if path not in self._unreadable:
                self._unreadable.add(path)
                self._tools.report("watch_failed", {"error": str(error)})

    def _read(self, path: Path) -> Iterator[_Found]:
        name = path.name
        if name.startswith("event_") and name.endswith((".pb", ".pb.enc")):
            yield from self._read_one(path)
        elif name.endswith(".jsonl"):
            yield from self._read_lines(path)

    def _read_one(self, path: Path) -> Iterator[_Found]:
        status = path.stat()
        mark = (status.st_size, status.st_mtime_ns)
        if self._marks.get(str(path)) == mark or time.time() - status.st_mtime < _SETTLED_S:
            return
        found = _Found(marks={str(path): mark})
        if status.st_size > (MAX_FRAME_BYTES if path.suffix == ".enc" else MAX_BODY_BYTES):
            found.refusals.append(("too_long", f"{path.name} has {status.st_size} bytes", b""))
            yield found
            return
        raw = path.read_bytes()
        try:
            found.payloads.append(_unsealed(self._tools.opener, raw) if path.suffix == ".enc" else raw)
        except FrameRefused as refused:
            found.refusals.append((str(refused.reason), f"{path.name}: {refused.detail}", raw))
        yield found

    def _read_lines(self, path: Path) -> Iterator[_Found]:
        status = path.stat()
        read, inode = self._marks.get(str(path), (0, status.st_ino))
        if inode != status.st_ino or read > status.st_size:
            read = 0
        if read == status.st_size:
            return
        with path.open("rb") as file:
            file.seek(read)
            while line := file.readline(_LONGEST_LINE):
                if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                    return  # the rest of the line is still to be written
                read += len(line)
                found = _Found(marks={str(path): (read, status.st_ino)})
                if line.strip():
                    _take_line(found, line, path.name)
                yield found

    def _save(self) -> None:
        with self._lock:
            marks = dict(self._marks)
        if marks != self._saved:
            self._tools.disk.write_file(self._memory, json.dumps(marks).encode())
            self._saved = marks


def _unsealed(opener: V1Opener, raw: bytes) -> bytes:
    opened = opener.open(raw)
    node = node_of(opened.payload)
    if node:
        opener.check_node(opened, node)
    return opened.payload


def _take_line(found: _Found, line: bytes, name: str) -> None:
    try:
        event = event_from_record(dict(json.loads(line)))
        found.payloads.append(event.SerializeToString(deterministic=True))
    except Refused as refused:
        found.refusals.append((refused.reason, f"{name}: {refused.detail}", line))
    except (ValueError, TypeError, RecursionError) as error:
        found.refusals.append(("bad_json", f"{name}: {error}", line))


def _merge(found: _Found, part: _Found) -> None:
    found.payloads += part.payloads
    found.refusals += part.refusals
    found.marks.update(part.marks)


def _read_marks(memory: Path) -> dict[str, Mark]:
    try:
        raw = json.loads(memory.read_bytes())
        return {str(path): (int(first), int(second)) for path, (first, second) in raw.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise AppiaError(
            f"{memory} is damaged ({error}): delete it, and the watched folders are read again"
        ) from None
