"""A disk that is full below the limit: nothing is lost or half there, nobody is told so, and the intake goes on."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from services.common.durable import Disk, SyncFailed
from services.common.errors import AppiaError
from services.common.system_calls import SystemCalls
from services.common.wire.acks import Ack, read_ack
from services.common.wire.keys import new_key_ring
from services.common.wire.senders import SenderTable
from services.common.wire.sessions import V2Receiver
from services.common.wire.v1 import V1Opener, V1Sealer
from services.common.wire.v1_counters import V1Counters
from services.common.wire.v1_seen import SeenFile, SeenFrames
from services.common.wire.v2 import Direction, DirectionKeys, Origin, V2Sealer, authenticate
from services.ingester import room as room_module
from services.ingester.firewalls import Firewalls
from services.ingester.queue import ByteQueue
from services.ingester.receiver import Batch, Endpoints, Frames, Receiver, ReceiverTools
from services.ingester.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.common.days.names import StateNames

DAY = "2026-01-22"
LOOPBACK = "tcp://127.0.0.1:*"
V1_CHANNEL = "ml-defender:ml-detector-to-firewall:v1"


class FullCalls(SystemCalls):
    """The real calls on a disk that takes half of a write and no more while it is full."""

    def __init__(self) -> None:
        self.is_full = False
        self.fails_to_sync = False
        self.refused = 0

    def open(self, path: Path | str, flags: int, mode: int = 0o640) -> int:
        return super().open(path, flags, mode)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if not self.is_full:
            return super().write(fd, data)
        if len(data) < 2:
            self._refuse()
        self.refused += 1
        super().write(fd, memoryview(data)[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        if self.is_full:
            self._refuse()
        return super().pwrite(fd, data, offset)

    def mkdir(self, path: Path | str, mode: int) -> None:
        if self.is_full:
            self._refuse()
        super().mkdir(path, mode)

    def sync_data(self, fd: int) -> None:
        if self.fails_to_sync:
            self._refuse()
        super().sync_data(fd)

    def _refuse(self) -> None:
        self.refused += 1
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def calls() -> FullCalls:
    return FullCalls()


@pytest.fixture
def disk(calls: FullCalls) -> Disk:
    """For everything that the fixtures of this folder make."""
    return Disk(calls)


class Site:
    """A receiver in its thread, and senders of both versions of the wire."""

    def __init__(self, context: Any, opened: Any, state: StateNames, disk: Disk, reports: Any) -> None:
        ring = new_key_ring(state.root.parent / "ring")
        frames = Frames(
            V2Receiver(ring, "events", SenderTable(state.run / "senders.json", disk=disk)),
            V1Opener(ring.opening_seeds(), V1_CHANNEL),
            V1Counters(SeenFrames(1024, file=SeenFile(disk, state.run / "seen"))),
        )
        room = Room(state.root, 100.0)
        tools = ReceiverTools(
            frames,
            opened.intake,
            opened.dead_letter,
            ByteQueue(1 << 30),
            room,
            reports,
            Firewalls(opened.decisions),
        )
        opened.is_closed_elsewhere = True
        self.receiver = Receiver(context, Endpoints(LOOPBACK, LOOPBACK, [], allow_public_v1=False), tools)
        self.failures: list[BaseException] = []
        self.sealer = V2Sealer(ring, Origin("events", 7, 1000))
        self.v1_sealer = V1Sealer(ring.sealing_seed(), V1_CHANNEL, 1)
        self._keys = DirectionKeys(ring, "events", Direction.ACK)
        self.v2, self.v1 = context.socket(zmq.DEALER), context.socket(zmq.PUSH)
        self.v2.connect(self.receiver.v2_endpoint)
        self.v1.connect(self.receiver.v1_endpoint)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.receiver.run()
        except (AppiaError, OSError) as error:
            self.failures.append(error)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def ack(self, within_s: float = 10.0) -> Ack | None:
        if not self.v2.poll(int(within_s * 1000)):
            return None
        return read_ack(authenticate(self.v2.recv(), self._keys)[1])

    def end(self) -> None:
        self.receiver.stop()
        self._thread.join()
        for socket in (self.v2, self.v1):
            socket.close(linger=0)


@pytest.fixture
def site(  # noqa: PLR0917 - fixtures
    start: Callable[[], Any],
    state: StateNames,
    disk: Disk,
    calls: FullCalls,
    reports: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    monkeypatch.setattr(room_module, "TRY_AGAIN_S", 0.05)
    with zmq.Context() as context:
        one = Site(context, start(), state, disk, reports)
        yield one
        calls.is_full = calls.fails_to_sync = False
        one.end()


@pytest.fixture
def stored(state: StateNames, logged: Callable[..., list[bytes]]) -> Callable[[], list[bytes]]:
    def read() -> list[bytes]:
        names = state.day(DAY)
        return [event for number in names.segments() for event in logged(names.segment(number))]

    return read


def test_a_frame_that_finds_the_disk_full_is_taken_when_it_is_sent_again(  # noqa: PLR0917 - fixtures
    site: Site,
    calls: FullCalls,
    make_events: Callable[..., list[bytes]],
    stored: Callable[[], list[bytes]],
    start: Callable[[], Any],
    reports: Any,
    eventually: Callable[..., None],
) -> None:
    """No answer, nothing half in the log, a pause that is told once; the same frame is new and accepted afterwards."""
    events = make_events(20)
    site.v2.send(site.sealer.seal(events[:5])[1])
    assert site.ack() == Ack(0, 5, 0, {})
    calls.is_full = True
    frame = site.sealer.seal([*events[5:], b"no event"])[1]
    for sent in range(1, 4):
        site.v2.send(frame)
        eventually("the disk was found full", lambda sent=sent: calls.refused >= sent)
    assert site.ack(within_s=0.2) is None
    assert stored() == events[:5]
    assert site.receiver.counts()["paused"]
    calls.is_full = False
    site.v2.send(frame)
    assert site.ack() == Ack(1, 15, 0, {"not_an_event": 1})
    eventually("it goes on", lambda: not site.receiver.gauge.is_paused)
    assert [event for event, _ in reports.told] == ["intake_paused", "intake_resumed"]
    assert stored() == events
    assert len(start().recovered[0].positions) == 20


def test_a_disk_that_is_full_from_the_start_lets_the_first_event_of_a_day_in_later(
    site: Site,
    calls: FullCalls,
    make_events: Callable[..., list[bytes]],
    stored: Callable[[], list[bytes]],
    eventually: Callable[..., None],
) -> None:
    """The day's folder, its log, the dead letter and the table of senders are all still to be made then."""
    events = make_events(3)
    frame = site.sealer.seal([*events, b"no event"])[1]
    calls.is_full = True
    site.v2.send(frame)
    eventually("the disk was found full", lambda: calls.refused)
    assert site.ack(within_s=0.2) is None
    calls.is_full = False
    site.v2.send(frame)
    assert site.ack() == Ack(0, 3, 0, {"not_an_event": 1})
    assert stored() == events


def test_what_nobody_sends_again_is_held_until_there_is_room(  # noqa: PLR0917 - fixtures
    site: Site,
    calls: FullCalls,
    make_events: Callable[..., list[bytes]],
    stored: Callable[[], list[bytes]],
    eventually: Callable[..., None],
    dead_letters: Callable[[], list[dict[str, Any]]],
) -> None:
    """Frames of version 1 and files of watched folders: the one at hand is held, the others wait where they are."""
    events, done = make_events(6), threading.Event()
    calls.is_full = True
    for event in events[:4]:
        site.v1.send(site.v1_sealer.seal(event))
    eventually("the disk was found full", lambda: calls.refused)
    site.receiver.submit(Batch(events[4:], "folder /x", done.set, [("bad_json", "line 1", b"{")]))
    assert not done.wait(0.3)
    assert site.receiver.counts()["accepted"] == 0
    calls.is_full = False
    assert done.wait(10)
    eventually("all are stored", lambda: sorted(stored()) == sorted(events))
    assert [record["reason"] for record in dead_letters()] == ["bad_json"]


def test_called_work_is_told_that_the_disk_is_full(
    site: Site, calls: FullCalls, make_events: Callable[..., list[bytes]]
) -> None:
    """It does not end the intake either."""

    def work() -> None:
        site.receiver._tools.intake.add(make_events(1), backfill=True, origin="")

    calls.is_full = True
    with pytest.raises(AppiaError, match="disk is full"):
        site.receiver.call(work)
    assert site.is_alive


def test_a_full_disk_that_shows_at_a_sync_ends_the_intake(
    site: Site, calls: FullCalls, make_events: Callable[..., list[bytes]], eventually: Callable[..., None]
) -> None:
    """What was written may be lost then, although it can be read: no sync is tried again, and nobody is answered."""
    site.v2.send(site.sealer.seal(make_events(1))[1])
    assert site.ack() == Ack(0, 1, 0, {})
    calls.fails_to_sync = True
    site.v2.send(site.sealer.seal(make_events(2, "late"))[1])
    eventually("it ended", lambda: not site.is_alive)
    assert isinstance(site.failures[0], SyncFailed)
    assert site.failures[0].errno == errno.ENOSPC
    assert site.ack(within_s=0.2) is None
