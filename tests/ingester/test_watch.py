"""Watched folders: every artifact of a sensor is taken in once, and what cannot be read holds up nothing."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format

from services.common.errors import AppiaError
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.wire.keys import RAG_ARTIFACTS
from services.common.wire.v1 import V1Opener, V1Sealer
from services.ingester import watch as watch_module
from services.ingester.watch import FolderWatch, WatchTools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.common.days.names import StateNames
    from services.common.durable import Disk
    from services.ingester.receiver import Batch

SEED = bytes(range(32))
NODE_SEED = bytes(range(100, 132))


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look twenty times a second instead of once."""
    monkeypatch.setattr(watch_module, "_LOOK_EVERY_S", 0.05)


class Taken:
    """What the watch handed in; it is durable at once, unless `holds` is set."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.refusals: list[tuple[str, str, bytes]] = []
        self.holds = False

    def __call__(self, batch: Batch) -> None:
        self.payloads += batch.payloads
        self.refusals += batch.refusals
        if not self.holds:
            batch.done()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def watch(inbox: Path, state: StateNames, disk: Disk, reports: Any) -> Iterator[Callable[[], Taken]]:
    """Start to watch, as a start of the ingester does; gives what is taken in from then on."""
    running: list[tuple[FolderWatch, threading.Thread]] = []

    def stop() -> None:
        while running:
            watch, thread = running.pop()
            watch.stop()
            thread.join()

    def make(*, holds: bool = False) -> Taken:
        stop()
        taken = Taken()
        taken.holds = holds
        opener = V1Opener([SEED], RAG_ARTIFACTS, {"node-b": NODE_SEED})
        tools = WatchTools(disk, opener, taken, reports)
        watch = FolderWatch([inbox], state.run / "watch.json", tools)
        running.append((watch, threading.Thread(target=watch.run)))
        running[0][1].start()
        return taken

    yield make
    stop()


def _settled(path: Path, content: bytes) -> None:
    """Write a file as one that has not changed for a while."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time.time() - 60, time.time() - 60))


def _line(event: bytes) -> bytes:
    return json.dumps(json_format.MessageToDict(NetworkSecurityEvent.FromString(event))).encode() + b"\n"


def _remembered(state: StateNames) -> int:
    memory = state.run / "watch.json"
    return len(json.loads(memory.read_bytes())) if memory.exists() else 0


def test_files_of_one_event_are_taken_once_plain_and_sealed(
    watch: Callable[..., Taken],
    inbox: Path,
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
    state: StateNames,
) -> None:
    """In folders of any depth; other files are left alone; a restart remembers what was taken."""
    events = make_events(3)
    _settled(inbox / "event_1.pb", events[0])
    _settled(inbox / "2026-01-22" / "event_2.pb", events[1])
    _settled(inbox / "event_3.pb.enc", V1Sealer(SEED, RAG_ARTIFACTS, 1).seal(events[2]))
    _settled(inbox / "notes.txt", b"not an artifact")
    taken = watch()
    eventually("all came", lambda: len(taken.payloads) == 3)
    eventually("it remembers", lambda: _remembered(state) == 3)
    _settled(inbox / "event_4.pb", b"the fourth")
    again = watch()
    eventually("the new one came", lambda: again.payloads)
    assert sorted(taken.payloads) == sorted(events)
    assert again.payloads == [b"the fourth"]
    assert (taken.refusals, again.refusals) == ([], [])


def test_a_sealed_file_of_a_node_with_a_seed_of_its_own_needs_that_seed(
    watch: Callable[..., Taken],
    inbox: Path,
    make_event: Callable[..., bytes],
    eventually: Callable[..., None],
) -> None:
    """As with frames: who shares the other seed cannot speak for that node."""
    event = make_event("b", originating_node_id="node-b")
    _settled(inbox / "event_1.pb.enc", V1Sealer(SEED, RAG_ARTIFACTS, 1).seal(event))
    _settled(inbox / "event_2.pb.enc", V1Sealer(NODE_SEED, RAG_ARTIFACTS, 1).seal(event))
    taken = watch()
    eventually("both came", lambda: taken.payloads and taken.refusals)
    assert taken.payloads == [event]
    assert [reason for reason, _, _ in taken.refusals] == ["wrong_node"]


def test_a_file_is_read_once_it_has_settled(
    watch: Callable[..., Taken], inbox: Path, eventually: Callable[..., None]
) -> None:
    """A file that is being written is not read in half; one that changes later is read again."""
    path = inbox / "event_1.pb"
    taken = watch()
    with path.open("wb") as file:
        for part in (b"first", b" and", b" second"):
            file.write(part)
            file.flush()
            time.sleep(0.3)
    eventually("it came", lambda: taken.payloads)
    assert taken.payloads == [b"first and second"]


def test_a_growing_file_of_lines_is_followed(
    watch: Callable[..., Taken],
    inbox: Path,
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
    state: StateNames,
) -> None:
    """Half a line waits for its rest, also over a restart; blank lines are nothing."""
    lines = [_line(event) for event in make_events(3)]
    path = inbox / "2026-01-22.jsonl"
    path.write_bytes(lines[0] + b"\n" + lines[1][:40])
    taken = watch()
    eventually("the first came", lambda: len(taken.payloads) == 1)
    eventually("it remembers", (state.run / "watch.json").exists)
    again = watch()
    with path.open("ab") as file:
        file.write(lines[1][40:])
    eventually("the second came", lambda: len(again.payloads) == 1)
    with path.open("ab") as file:
        file.write(lines[2])
    eventually("the third came", lambda: len(again.payloads) == 2)
    ids = [NetworkSecurityEvent.FromString(p).event_id for p in taken.payloads + again.payloads]
    assert ids == ["event-e-0", "event-e-1", "event-e-2"]
    assert (taken.refusals, again.refusals) == ([], [])


def test_a_file_that_was_replaced_is_read_from_its_beginning(
    watch: Callable[..., Taken],
    inbox: Path,
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
) -> None:
    """A log that was rotated away and begun anew under its name loses nothing."""
    lines = [_line(event) for event in make_events(3)]
    path = inbox / "events.jsonl"
    path.write_bytes(lines[0] + lines[1])
    taken = watch()
    eventually("two came", lambda: len(taken.payloads) == 2)
    path.rename(inbox / "events.old")
    path.write_bytes(lines[2])
    eventually("the new one came", lambda: len(taken.payloads) == 3)


def test_without_its_memory_everything_is_read_again_with_the_same_bytes(
    watch: Callable[..., Taken],
    inbox: Path,
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
    state: StateNames,
) -> None:
    """The bytes of each event are the same the second time, so the intake knows them as duplicates."""
    events = make_events(2)
    _settled(inbox / "event_1.pb", events[0])
    (inbox / "a.jsonl").write_bytes(_line(events[1]))
    taken = watch()
    eventually("all came", lambda: len(taken.payloads) == 2)
    eventually("it remembers", (state.run / "watch.json").exists)
    again = watch()
    time.sleep(0.3)
    assert again.payloads == []
    (state.run / "watch.json").unlink()
    third = watch()
    eventually("all came again", lambda: len(third.payloads) == 2)
    assert sorted(third.payloads) == sorted(taken.payloads)


def test_what_was_not_durable_is_handed_in_again(
    watch: Callable[..., Taken], inbox: Path, eventually: Callable[..., None]
) -> None:
    """Stopped before the batch was on disk: nothing is remembered of it."""
    _settled(inbox / "event_1.pb", b"one")
    held = watch(holds=True)
    eventually("it came", lambda: held.payloads == [b"one"])
    again = watch()
    eventually("it came again", lambda: again.payloads == [b"one"])


def test_bad_files_go_to_the_dead_letter_once(
    watch: Callable[..., Taken],
    inbox: Path,
    make_event: Callable[..., bytes],
    eventually: Callable[..., None],
) -> None:
    """Forged, too long, and lines that are no events are refused by name, once; the good line goes in."""
    _settled(inbox / "event_1.pb.enc", b"forged" * 20)
    _settled(inbox / "event_2.pb", bytes((1 << 20) + 1))
    _settled(inbox / "event_3.pb", bytes(3 << 20))
    bad = [b"{nonsense\n", b"[1, 2]\n", b"17\n", b'"x"\n', b"\xff\xfe\n", b'{"networkFeatures": 1}\n']
    (inbox / "a.jsonl").write_bytes(b"".join(bad) + _line(make_event()))
    taken = watch()
    eventually("the good one came", lambda: taken.payloads)
    eventually("all were refused", lambda: len(taken.refusals) == 9)
    time.sleep(0.3)
    reasons = sorted(
        (reason, detail.partition(":")[0].partition(" ")[0]) for reason, detail, _ in taken.refusals
    )
    assert reasons == [
        *[("bad_json", "a.jsonl")] * 5,
        ("bad_tag", "event_1.pb.enc"),
        ("not_an_event", "a.jsonl"),
        ("too_long", "event_2.pb"),
        ("too_long", "event_3.pb"),
    ]
    assert {data for _, _, data in taken.refusals} >= set(bad)


def test_what_is_no_file_holds_up_nothing(
    watch: Callable[..., Taken], inbox: Path, eventually: Callable[..., None], reports: Any
) -> None:
    """A folder or a dead link with the name of an artifact is named in the log once; files behind it are read."""
    (inbox / "event_0.pb").mkdir()
    os.utime(inbox / "event_0.pb", (0, 0))
    (inbox / "event_1.pb").symlink_to(inbox / "gone")
    (inbox / "a.jsonl").mkdir()
    _settled(inbox / "event_2.pb", b"good")
    taken = watch()
    eventually("the good one came", lambda: taken.payloads == [b"good"])
    time.sleep(0.3)
    assert len(reports.named("watch_failed")) == 3


def test_a_folder_that_is_not_there_yet_is_no_fault(
    watch: Callable[..., Taken], inbox: Path, eventually: Callable[..., None], reports: Any
) -> None:
    inbox.rmdir()
    taken = watch()
    time.sleep(0.3)
    _settled(inbox / "event_1.pb", b"late")
    eventually("it came", lambda: taken.payloads == [b"late"])
    assert reports.named("watch_failed") == []


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": 1}', b'{"a": ["x", 2]}'])
def test_a_damaged_memory_is_named(watch: Callable[..., Taken], state: StateNames, content: bytes) -> None:
    (state.run / "watch.json").write_bytes(content)
    with pytest.raises(AppiaError, match=r"watch\.json is damaged.*delete it"):
        watch()


def test_many_files_go_in_batches(
    watch: Callable[..., Taken], inbox: Path, eventually: Callable[..., None]
) -> None:
    for number in range(600):
        _settled(inbox / f"event_{number}.pb", b"%d" % number)
    taken = watch()
    eventually("all came", lambda: len(taken.payloads) == 600)
    assert len(set(taken.payloads)) == 600
