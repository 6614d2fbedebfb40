"""A small state directory with everything that a backup meets, made by the parts that make it in a service."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.common.backup.copying import BackupTools, Copying
from services.common.backup.folder_store import FolderStore
from services.common.backup.restoring import Restored, RestoreTools, Restoring
from services.common.days.layout import claim_layout
from services.common.days.log import LogReader, LogWriter
from services.common.days.log_format import EVENT, FEEDBACK, Damage
from services.common.days.manifest import MANIFEST, Manifest, digest_folder
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.system_calls import SystemCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.common.backup.snapshot import Snapshot

DAY, OTHER_DAY = "2026-01-22", "2026-01-23"
NOON = datetime(2026, 1, 24, 12, tzinfo=UTC)


@dataclass
class World:
    """A state directory that grows, is sealed, backed up and restored; `now` is the clock of the backups."""

    state: StateNames
    store: FolderStore
    target: Path
    disk: Disk = field(default_factory=Disk)
    now: datetime = NOON
    logs: dict[Path, LogWriter] = field(default_factory=dict)

    def write(self, day: str, segment: int, payloads: list[bytes]) -> None:
        """Append events to the first log of a segment, and let them be on disk."""
        names = self.state.day(day).segment(segment)
        path = names.log(1)
        if not path.exists():
            if path in self.logs:
                self.logs[path].close()
            self.disk.make_folder(names.folder)
            self.logs[path] = LogWriter(self.disk, path)
            (names.folder / "columns.bin").write_bytes(b"made anew from the log")
        self.logs[path].append(EVENT, 0, payloads)
        self.logs[path].sync()

    def say(self, *remarks: bytes) -> None:
        """Begin a log of feedback."""
        self.disk.make_folder(self.state.feedback)
        log = LogWriter(self.disk, self.state.feedback_log(len(self.state.feedback_logs()) + 1))
        log.append(FEEDBACK, 0, remarks)
        log.close()

    def seal(self, day: str, number: int, through: int, files: dict[str, bytes]) -> None:
        """Publish a generation that has these files in its chunk, point at it, and drop the segments in it."""
        names = self.state.day(day)
        self.disk.make_folder(names.staging / "chunk")
        for name, content in files.items():
            (names.staging / "chunk" / name).write_bytes(content)
        facts = {"through_segment": through, "lost": 0}
        artifacts = digest_folder(names.staging / "chunk")
        manifest = Manifest("chunk", day, number, len(files), "2026-01-24", artifacts, facts)
        (names.staging / "chunk" / MANIFEST).write_bytes(manifest.to_json())
        self.disk.publish(names.staging, names.generation(number).folder)
        self.disk.write_file(names.current, f"{number:06d}\n".encode())
        for segment in names.segments():
            if segment <= through:
                self.disk.remove(names.segment(segment).folder)

    def back_up(self, *, keys: bool = False, disk: Disk | None = None) -> Snapshot:
        """Make a backup one second after the one before."""
        self.now += timedelta(seconds=1)
        store = FolderStore(disk or self.disk, self.store.folder)
        with store.writing():
            return Copying(self.state, self.tools(store), keys=keys).run()

    def tools(self, store: FolderStore) -> BackupTools:
        return BackupTools(store, lambda: self.now, lambda _done, _total: None, "0.1.0")

    def restore(
        self, snapshot: Snapshot, *, despite_damage: bool = False, disk: Disk | None = None
    ) -> Restored:
        with self.store.reading():
            tools = RestoreTools(self.store, disk or self.disk, lambda _done, _total: None)
            return Restoring(snapshot, self.target, tools, despite_damage=despite_damage).run()

    def close(self) -> None:
        for log in self.logs.values():
            log.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A sealed day, an open day, feedback, a chain, a model, keys, and what no backup holds."""
    made = World(StateNames(tmp_path / "state"), FolderStore(Disk(), tmp_path / "store"), tmp_path / "target")
    claim_layout(made.state, made.disk)
    made.write(DAY, 1, [b"first", b"second"])
    made.seal(DAY, 1, 1, {"events.log": b"sealed events", "columns.bin": b"sealed columns"})
    made.write(OTHER_DAY, 1, [b"third", b"fourth", b"fifth"])
    made.say(b"a remark", b"another")
    loose = {
        "chain/links.jsonl": b'{"link": 1}\n',
        "models/attack/ACTIVE": b"0123\n",
        "models/attack/0123/model.onnx": b"model",
        "run/senders.json": b"{}",
        "run/ports.json": b"{}",
        "keys/wire/1.seed": b"secret",
        "access.toml": b"[names]",
        "run/ingester.log": b"text",
        "run/v1-seen": b"a memory of one day",
        "run/ingester.toml": b"state = 'here'",
        "cache/semantic/1.vectors": b"made again",
        "registry/rag/rag-1.json": b"who runs now",
        "inbox/event_1.pb": b"the sensors'",
        "endpoints.json": b"{}",
        "writer.lock": b"",
        f"days/{DAY}/sealed/staging/chunk/columns.bin": b"half",
        f"days/{DAY}/sealed/000001/attack/reindex/vectors.f32": b"half",
    }
    for path, content in loose.items():
        made.disk.make_folder((made.state.root / path).parent)
        (made.state.root / path).write_bytes(content)
    (made.state.keys / "wire" / "1.seed").chmod(0o400)
    yield made
    made.close()


@pytest.fixture
def tree() -> Callable[[Path], dict[str, tuple[str, int]]]:
    """Every file below a folder with the SHA-256 of its content and its mode."""

    def read(root: Path) -> dict[str, tuple[str, int]]:
        return {
            str(path.relative_to(root)): (
                hashlib.sha256(path.read_bytes()).hexdigest(),
                path.stat().st_mode & 0o777,
            )
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    return read


@pytest.fixture
def payloads() -> Callable[[Path], list[bytes]]:
    """What the records of a log hold."""

    def read(path: Path) -> list[bytes]:
        reader = LogReader(path)
        found = [one.payload for one in reader.scan() if not isinstance(one, Damage)]
        reader.close()
        return found

    return read


@pytest.fixture
def rewrite() -> Callable[..., None]:
    """Change what a snapshot says, and make its checksum fit, as somebody who has the folder can."""

    def change(path: Path, **fields: object) -> None:
        body = json.loads(path.read_bytes())["snapshot"] | fields
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        path.write_text(f'{{"format": 1, "sha256": "{digest}", "snapshot": {text}}}\n')

    return change


def _parent(path: Path | str) -> str:
    return str(Path(path).parent)


class Synced(SystemCalls):
    """Knows at each moment what a power cut would leave: which files and folders were synced as they are now."""

    def __init__(self, moment: str, of: str) -> None:
        """Note what of `of` is not synced at each moment at which `moment` gets its name."""
        self.moment, self.of = moment, of
        self.names: dict[int, str] = {}
        self.unsynced: set[str] = set()
        self.lost: list[set[str]] = []

    def open(self, path: Path | str, flags: int, mode: int = 0o640) -> int:
        if flags & os.O_CREAT and not os.path.lexists(path):
            self.unsynced.add(_parent(path))
        fd = super().open(path, flags, mode)
        self.names[fd] = str(path)
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self.unsynced.add(self.names[fd])
        return super().write(fd, data)

    def mkdir(self, path: Path | str, mode: int) -> None:
        super().mkdir(path, mode)
        self.unsynced.add(_parent(path))

    def sync(self, fd: int) -> None:
        self.unsynced.discard(self.names[fd])

    def rename(self, old: Path | str, new: Path | str) -> None:
        super().rename(old, new)
        if str(old) in self.unsynced:
            self.unsynced.remove(str(old))
            self.unsynced.add(str(new))
        if self.moment in str(new):
            self.lost.append({path for path in self.unsynced if self.of in path or str(new) == path})
        self.unsynced |= {_parent(old), _parent(new)}


@pytest.fixture
def synced() -> type[Synced]:
    """System calls that know what a power cut would leave."""
    return Synced
