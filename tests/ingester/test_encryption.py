"""With a storage key no event, remark or refused frame lies in a log as it is, and nothing is lost by it."""

from __future__ import annotations

import signal
import stat
import struct
from contextlib import closing
from typing import TYPE_CHECKING, Any

import google_crc32c
import pytest

from services.common.days.log import LogReader
from services.common.days.log_format import EVENT
from services.common.days.names import read_pointer
from services.common.days.open_writer import SegmentLogReader
from services.common.days.opening import Opening
from services.common.days.sealed_reader import SealedReader
from services.common.days.verify import verify_day
from services.common.errors import AppiaError
from services.common.feedback.follower import FeedbackFollower
from services.common.rest.storage_keys import NO_KEYS, StorageKeys, new_storage_keys, rotate_storage_keys
from services.ingester.dead_letter import DeadLetter
from services.ingester.intake import Intake, IntakeTools
from services.ingester.recovery import Recovery
from services.ingester.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.common.days.names import StateNames
    from services.common.durable import Disk
    from services.common.rest.log_keys import LogKeys

DAY = "2026-01-22"


@pytest.fixture
def keys_file(state: StateNames, disk: Disk) -> Path:
    path = state.keys / "rest" / "storage.keys"
    new_storage_keys(disk, path)
    return path


@pytest.fixture
def keys(keys_file: Path) -> StorageKeys:
    return StorageKeys(keys_file, print)


class Started:
    """Recovery and intake, as a start makes them."""

    def __init__(self, state: StateNames, disk: Disk, clock: Any, keys: LogKeys) -> None:
        self.said: list[str] = []
        self.letter = DeadLetter(disk, state.dead_letter, 1 << 26, clock.ns, keys)
        self.recovered = Recovery(disk, self.letter, self.said.append, keys).recover(state)
        tools = IntakeTools(disk, self.letter, clock.ns, clock.monotonic, keys)
        self.intake = Intake(state, self.recovered, tools)

    def add(self, payloads: list[bytes]) -> int:
        verdict = self.intake.add(payloads, backfill=False, origin="test")
        self.intake.commit()
        return verdict.accepted


@pytest.fixture
def begin(state: StateNames, disk: Disk, clock: Any) -> Iterator[Callable[[LogKeys], Started]]:
    started: list[Started] = []

    def make(keys: LogKeys) -> Started:
        started.append(Started(state, disk, clock, keys))
        return started[-1]

    yield make
    for one in started:
        one.intake.close()


def _payloads(started: Started, keys: LogKeys) -> list[bytes | None]:
    (segment,) = started.recovered
    with closing(SegmentLogReader(segment.names, keys)) as log:
        return [log.event(position) for position in segment.positions.tolist()]


def _log(state: StateNames, number: int = 1) -> Path:
    names = state.day(DAY).segment(state.day(DAY).segments()[0])
    return names.log(number)


def test_a_torn_tail_is_cut_and_written_anew_under_another_key(
    begin: Callable[[LogKeys], Started],
    make_events: Callable[..., list[bytes]],
    state: StateNames,
    keys: StorageKeys,
) -> None:
    """After a crash the same events come at the same rows, in a new file with a key of its own."""
    events = make_events(6)
    begin(keys).add(events[:4])
    whole = _log(state).read_bytes()
    _log(state).write_bytes(whole[:-5])
    second = begin(keys)
    assert _payloads(second, keys) == events[:3]
    assert second.add(events) == 3
    blocks = [_log(state, number).read_bytes()[32:112] for number in (1, 2)]
    assert blocks[0] != blocks[1]
    assert _payloads(begin(keys), keys) == events
    assert [kept.reason for kept in Refused(state.dead_letter, keys).kept()] == ["damaged_log"]


def test_a_start_without_the_key_leaves_the_day_alone(
    begin: Callable[[LogKeys], Started],
    make_events: Callable[..., list[bytes]],
    state: StateNames,
    keys: StorageKeys,
) -> None:
    """Nothing is cut, set aside or written; with the key all is there, and other days go on meanwhile."""
    events = make_events(4)
    begin(keys).add(events)
    before = _log(state).read_bytes()
    without = begin(NO_KEYS)
    assert without.recovered == []
    assert "encrypted with the storage key" in without.said[0]
    assert without.add(events) == 0
    assert without.add(make_events(2, "other", 1_769_040_000 - 3600)) == 2
    assert _log(state).read_bytes() == before
    with_key = begin(keys)
    assert sorted(segment.rows for segment in with_key.recovered) == [2, 4]


def test_an_event_that_somebody_changed_is_set_aside_and_the_others_are_kept(
    begin: Callable[[LogKeys], Started],
    make_events: Callable[..., list[bytes]],
    state: StateNames,
    keys: StorageKeys,
) -> None:
    """Its checksum fits, its seal does not: the last record too is not taken for a torn tail."""
    events = make_events(3)
    begin(keys).add(events)
    path = _log(state)
    with closing(LogReader(path, keys)) as log:
        last = list(log.scan_stored())[-1]
        file_id = log.file_id
    payload = bytearray(last.payload)  # type: ignore[union-attr] # it is a record
    payload[-1] ^= 1
    seed = google_crc32c.value(struct.pack("<QQIB", file_id, 2, len(payload), EVENT))
    crc = google_crc32c.extend(seed, bytes(payload))
    start = last.offset  # type: ignore[union-attr] # it is a record
    raw = path.read_bytes()[:start] + struct.pack("<IIBQ", len(payload), crc, EVENT, 2) + payload
    path.write_bytes(raw)
    second = begin(keys)
    assert _payloads(second, keys) == events[:2]
    assert second.add(events) == 1
    (kept,) = Refused(state.dead_letter, keys).kept()
    assert kept.data == raw[start:]


def test_what_was_plain_before_stays_readable(
    begin: Callable[[LogKeys], Started],
    make_events: Callable[..., list[bytes]],
    state: StateNames,
    keys: StorageKeys,
    keys_file: Path,
) -> None:
    """A key that is named later encrypts from then on; where encryption is required the plain day is left alone."""
    events = make_events(5)
    begin(NO_KEYS).add(events[:2])
    begin(keys).add(events)
    assert _payloads(begin(keys), keys) == events
    assert [log.read_bytes()[8] for log in (_log(state, 1), _log(state, 2))] == [1, 2]
    strict = begin(StorageKeys(keys_file, print, require_encryption=True))
    assert "require_encryption" in strict.said[0]
    assert strict.recovered == []


def _reads(state: StateNames, keys: LogKeys) -> list[bytes]:
    generation = read_pointer(state.day(DAY).current)
    assert generation is not None
    with closing(
        SealedReader(DAY, state.day(DAY).generation(generation), opening=Opening(keys=keys))
    ) as reader:
        view = reader.view()
        return [view.events.payload(int(p)) for p in view.columns["position"].tolist()]


@pytest.mark.usefixtures("models")
def test_a_whole_run_with_a_storage_key(  # noqa: PLR0917 - fixtures
    launch: Callable[..., Any],
    ask: Callable[..., dict[str, Any]],
    send: Callable[..., int],
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
    state: StateNames,
    keys: StorageKeys,
    keys_file: Path,
    disk: Disk,
) -> None:
    """Fed, killed, fed on under a rotated key, and sealed: all is there for who has the keys, and for nobody else."""
    events = make_events(40, "very-secret-name")
    first = launch(storage_key=str(keys_file))
    assert send(first, [*events[:30], b"nonsense of very-secret-name"]) == 31
    remark = {
        "feedback_id": "f-1",
        "event_id": "very-secret-name",
        "analyst": "ana",
        "verdict": "false_positive",
    }
    assert ask(first, "feedback", **remark)["new"]
    rotate_storage_keys(disk, keys_file)
    first.end(signal.SIGKILL)
    second = launch(storage_key=str(keys_file), require_encryption=True)
    assert send(second, events) == 40
    assert ask(second, "status")["duplicates"] == 30
    job = ask(second, "seal", day=DAY)["job"]
    eventually("sealed", lambda: ask(second, "seal_status", job=job)["state"] == "done")
    assert ask(second, "replay") == {"taken": 0, "duplicates": 0, "refused": {"not_an_event": 1}, "next": ""}
    assert second.end() == 0
    assert _reads(state, keys) == events
    with pytest.raises(AppiaError, match="encrypted with the storage key"):
        _reads(state, NO_KEYS)
    assert verify_day(state.day(DAY), keys).faults == verify_day(state.day(DAY)).faults == ()
    said = FeedbackFollower(state, keys)
    said.poll()
    assert (len(said.book), said.faults) == (1, ())
    logs = list(state.root.rglob("*.log"))
    assert {log.parent.name for log in logs} >= {"chunk", "dead-letter", "feedback"}
    assert not [log for log in logs if b"very-secret-name" in log.read_bytes()]


@pytest.mark.usefixtures("models")
def test_what_is_written_is_for_owner_and_group_only(  # noqa: PLR0917 - fixtures
    launch: Callable[..., Any],
    ask: Callable[..., dict[str, Any]],
    send: Callable[..., int],
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
    state: StateNames,
) -> None:
    """Folders 0750 or less, open files 0640, sealed ones 0444 in them, also what SQLite makes by itself."""
    one = launch()
    send(one, [*make_events(5), *make_events(5, "next", 1_769_040_000 + 86_400)])
    job = ask(one, "seal", day=DAY)["job"]
    eventually("sealed", lambda: ask(one, "seal_status", job=job)["state"] == "done")
    assert one.end() == 0
    modes = {
        path.relative_to(state.root): stat.S_IMODE(path.stat().st_mode)
        for path in state.root.rglob("*")
        if not path.is_symlink() and "keys" not in path.parts
    }
    folders = {path: mode for path, mode in modes.items() if (state.root / path).is_dir()}
    files = {path: mode for path, mode in modes.items() if path not in folders}
    assert not {path: oct(mode) for path, mode in folders.items() if mode & 0o027}
    published = {path for path in files if path.parts[0] == "days" and "sealed" in path.parts}
    assert published
    assert {files[path] for path in published} == {0o444, 0o640}  # sealed, and pointers that may change
    assert not {path: oct(files[path]) for path in files.keys() - published if files[path] & 0o137}


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("fault", ["state", "keys", "storage key", "no storage key"])
def test_a_start_says_what_is_open_to_others(
    launch: Callable[..., Any],
    state: StateNames,
    keys_file: Path,
    fault: str,
) -> None:
    """One sentence with the command that helps, and exit status 1."""
    settings: dict[str, Any] = {"storage_key": str(keys_file)}
    if fault == "state":
        state.root.chmod(0o755)
    elif fault == "keys":
        state.keys.chmod(0o770)
    elif fault == "storage key":
        keys_file.chmod(0o440)
    else:
        settings = {"require_encryption": True}
    one = launch(ready=False, **settings)
    assert one.end(0) == 1
    (line,) = one._file.with_suffix(".log").read_text().splitlines()
    words = {"state": "chmod 0750", "keys": "chmod 0750", "storage key": "chmod 0400"}
    assert words.get(fault, "storage_key names no file") in line
