"""The receiver over real sockets: what is acknowledged is on disk, and nothing else is."""

from __future__ import annotations

import shutil
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from services.common.days.names import StateNames
from services.common.errors import AppiaError, UsageError
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.wire.acks import Ack, read_ack
from services.common.wire.keys import KeyRing, new_key_ring
from services.common.wire.senders import SenderTable
from services.common.wire.sessions import V2Receiver
from services.common.wire.v1 import V1Opener, V1Sealer
from services.common.wire.v1_counters import V1Counters
from services.common.wire.v1_seen import SeenFrames
from services.common.wire.v2 import (
    FLAG_BATCH,
    Direction,
    DirectionKeys,
    Header,
    Origin,
    V2Sealer,
    authenticate,
    seal,
)
from services.feed.reliable import ReliableSender, ReliableSettings, new_origin
from services.ingester.firewalls import Firewalls
from services.ingester.queue import ByteQueue
from services.ingester.receiver import Batch, Endpoints, Frames, Receiver, ReceiverTools
from services.ingester.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DAY = "2026-01-22"
NOON = 1_769_040_000 + 43_200
LOOPBACK = "tcp://127.0.0.1:*"
V1_CHANNEL = "ml-defender:ml-detector-to-firewall:v1"


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as found:
        yield found


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return new_key_ring(tmp_path / "keys")


class Running:
    """A receiver in its thread, over an intake that recovered what there is."""

    def __init__(self, opened: Any, receiver: Receiver, tools: ReceiverTools) -> None:
        self.opened = opened
        self.receiver = receiver
        self.tools = tools
        self.failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.receiver.run()
        except (AppiaError, OSError) as error:
            self.failure.append(error)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self.receiver.stop()
        self._thread.join()


@pytest.fixture
def receive(
    start: Callable[[], Any], state: StateNames, context: Any, ring: KeyRing, reports: Any
) -> Iterator[Callable[..., Running]]:
    """Start a receiver; `v1_sub` and `room` as keywords."""
    running: list[Running] = []

    def make(
        v1_sub: list[str] | None = None,
        room: Room | None = None,
        budget: int = 1 << 30,
        *,
        v1_backfill: bool = False,
    ) -> Running:
        opened = start()
        opened.is_closed_elsewhere = True  # by the receiver
        frames = Frames(
            V2Receiver(ring, "events", SenderTable(state.run / "senders.json")),
            V1Opener(ring.opening_seeds(), V1_CHANNEL),
            V1Counters(SeenFrames(1024)),
        )
        tools = ReceiverTools(
            frames,
            opened.intake,
            opened.dead_letter,
            ByteQueue(budget),
            room or Room(state.root, 100.0),
            reports,
            Firewalls(opened.decisions),
            v1_backfill,
        )
        endpoints = Endpoints(LOOPBACK, LOOPBACK, v1_sub or [], allow_public_v1=False)
        running.append(Running(opened, Receiver(context, endpoints, tools), tools))
        return running[-1]

    yield make
    for one in running:
        one.tools.indexing.close()
        one.stop()


class Peer:
    """A version 2 sender by hand: sends any bytes, reads acknowledgements."""

    def __init__(self, context: Any, endpoint: str, ring: KeyRing) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)
        self._keys = DirectionKeys(ring, "events", Direction.ACK)

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self.socket.send(frame)

    def ack(self, within_s: float = 10.0) -> Ack | None:
        if not self.socket.poll(int(within_s * 1000)):
            return None
        _, plain = authenticate(self.socket.recv(), self._keys)
        return read_ack(plain)


@pytest.fixture
def connect(context: Any, ring: KeyRing) -> Iterator[Callable[[Running], Peer]]:
    peers: list[Peer] = []

    def make(running: Running) -> Peer:
        peers.append(Peer(context, running.receiver.v2_endpoint, ring))
        return peers[-1]

    yield make
    for peer in peers:
        peer.socket.close()


@pytest.fixture
def sealer(ring: KeyRing) -> V2Sealer:
    return V2Sealer(ring, Origin("events", 7, 1000))


@pytest.fixture
def stored(state: StateNames, logged: Callable[..., list[bytes]]) -> Callable[..., list[bytes]]:
    """The events of the day, over all its segments."""

    def read(root: Path | None = None) -> list[bytes]:
        names = StateNames(root or state.root).day(DAY)
        return [event for number in names.segments() for event in logged(names.segment(number))]

    return read


def test_what_is_acknowledged_can_be_recovered_from_a_copy_of_the_disk(  # noqa: PLR0917 - fixtures
    receive: Callable[..., Running],
    connect: Callable[[Running], Peer],
    sealer: V2Sealer,
    make_events: Callable[..., list[bytes]],
    stored: Callable[..., list[bytes]],
    state: StateNames,
    tmp_path: Path,
) -> None:
    """A batch and a single event, acknowledged with their counts, in a copy taken at that very moment."""
    running = receive()
    peer, events = connect(running), make_events(5)
    peer.send(sealer.seal(events[:4])[1])
    assert peer.ack() == Ack(0, 4, 0, {})
    shutil.copytree(state.root, tmp_path / "copy")
    assert stored(tmp_path / "copy") == events[:4]
    peer.send(
        sealer.seal(
            [
                events[4],
            ]
        )[1],
        sealer.seal([events[0], events[4]])[1],
    )
    assert [peer.ack(), peer.ack()] == [Ack(1, 1, 0, {}), Ack(2, 0, 2, {})]
    assert stored() == events
    assert running.receiver.counts()["accepted"] == 5


def test_nothing_is_acknowledged_that_could_not_be_synced(
    receive: Callable[..., Running],
    connect: Callable[[Running], Peer],
    sealer: V2Sealer,
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
) -> None:
    """When the disk refuses a sync, the receiver ends without an answer, and who waits for it is told."""
    running = receive()
    peer, events = connect(running), make_events(2)
    peer.send(sealer.seal(events[:1])[1])
    assert peer.ack() == Ack(0, 1, 0, {})
    log = next(iter(running.opened.intake._days.values())).log

    def broken() -> None:
        raise OSError(5, "Input/output error")

    log.sync = broken
    peer.send(sealer.seal(events[1:])[1])
    eventually("the receiver ended", lambda: not running.alive)
    assert isinstance(running.failure[0], OSError)
    assert peer.ack(within_s=0.2) is None
    with pytest.raises(AppiaError, match="has ended"):
        running.receiver.call(lambda: 1)


def test_a_frame_that_comes_again_is_answered_again_and_stored_once(  # noqa: PLR0917 - fixtures
    receive: Callable[..., Running],
    connect: Callable[[Running], Peer],
    sealer: V2Sealer,
    make_events: Callable[..., list[bytes]],
    stored: Callable[..., list[bytes]],
    ring: KeyRing,
) -> None:
    """The same frame gets the same answer; after a restart its events are known by their content."""
    running, events = receive(), make_events(3)
    frame = sealer.seal(events)[1]
    peer = connect(running)
    peer.send(frame)
    assert peer.ack() == Ack(0, 3, 0, {})
    other = connect(running)
    other.send(frame)
    assert other.ack() == Ack(0, 3, 0, {})
    running.stop()
    again = connect(receive())
    again.send(frame)
    assert again.ack() == Ack(0, 0, 3, {})
    old = V2Sealer(ring, Origin("events", 7, 999)).seal(events)[1]
    again.send(old)
    assert again.ack(within_s=0.3) is None, "an older boot is not answered, also across a restart"
    assert stored() == events


def test_refused_events_are_acknowledged_as_refused(
    receive: Callable[..., Running],
    connect: Callable[[Running], Peer],
    sealer: V2Sealer,
    make_event: Callable[..., bytes],
    dead_letters: Callable[[], list[dict[str, Any]]],
) -> None:
    """The sender learns each reason, and every refused byte is in the dead letter by then; backfill may be old."""
    peer = connect(receive())
    old = make_event("old", NOON - 30 * 86_400)
    peer.send(sealer.seal([make_event("a"), b"\xffnonsense", old])[1])
    assert peer.ack() == Ack(0, 1, 0, {"not_an_event": 1, "too_old": 1})
    assert [(r["origin"], r["data"]) for r in dead_letters()] == [
        ("v2 sender 0x0000000000000007", b"\xffnonsense"),
        ("v2 sender 0x0000000000000007", old),
    ]
    peer.send(sealer.seal([old], backfill=True)[1])
    assert peer.ack() == Ack(1, 1, 0, {})


def test_an_authentic_frame_that_is_broken_inside_is_answered_and_kept(
    receive: Callable[..., Running],
    connect: Callable[[Running], Peer],
    ring: KeyRing,
    dead_letters: Callable[[], list[dict[str, Any]]],
) -> None:
    """A batch whose lengths lie cannot be read; sending it again would not help, so it is answered as refused."""
    peer = connect(receive())
    header = Header(FLAG_BATCH, ring.primary, 7, 1000, bytes(16), 0)
    frame = seal(header, struct.pack("<II", 1, 99) + b"short", DirectionKeys(ring, "events", Direction.DATA))
    peer.send(frame)
    assert peer.ack() == Ack(0, 0, 0, {"bad_batch": 1})
    assert [(record["reason"], record["data"]) for record in dead_letters()] == [("bad_batch", frame)]


def test_forged_frames_are_counted_sampled_and_not_answered(  # noqa: PLR0917 - fixtures
    receive: Callable[..., Running],
    connect: Callable[[Running], Peer],
    sealer: V2Sealer,
    make_events: Callable[..., list[bytes]],
    dead_letters: Callable[[], list[dict[str, Any]]],
    eventually: Callable[..., None],
) -> None:
    """A changed byte, noise and nothing at all: no answer, no event, and the next good frame goes in."""
    running, events = receive(), make_events(1)
    peer = connect(running)
    frame = sealer.seal(events)[1]
    changed = frame[:-1] + bytes([frame[-1] ^ 1])
    peer.send(changed, b"", b"noise" * 40, *[b"noise" * 40] * 30)
    eventually("all came", lambda: running.receiver.frames["v2"] == 33)
    assert peer.ack(within_s=0.2) is None
    peer.send(frame)
    assert peer.ack() == Ack(0, 1, 0, {})
    counts = running.receiver.counts()
    assert counts["frames"] == {"v2": 34, "refused": 33}
    assert counts["refused"] == {"bad_tag": 1, "too_short": 1, "bad_magic": 31}
    kept = dead_letters()
    assert len(kept) == 10
    assert counts["dead_letter_not_kept"] == 23
    assert kept[0]["data"] == changed


def test_a_message_of_a_size_that_no_frame_has_ends_only_that_connection(
    receive: Callable[..., Running],
    connect: Callable[[Running], Peer],
    sealer: V2Sealer,
    make_events: Callable[..., list[bytes]],
) -> None:
    running = receive()
    connect(running).send(bytes(64 << 20))
    good = connect(running)
    good.send(sealer.seal(make_events(1))[1])
    assert good.ack() == Ack(0, 1, 0, {})


def test_the_reliable_sender_and_the_receiver_understand_each_other(
    receive: Callable[..., Running],
    context: Any,
    ring: KeyRing,
    make_events: Callable[..., list[bytes]],
    stored: Callable[..., list[bytes]],
) -> None:
    """Many batches from the real sender, all acknowledged, each event stored once."""
    running, events = receive(), make_events(1000, seconds=NOON - 1000)
    settings = ReliableSettings(running.receiver.v2_endpoint, new_origin("events"), batch_events=7)
    with ReliableSender(context, settings, ring) as sender:
        for event in [*events, *events[:100]]:
            sender.send(event)
        sender.flush()
        assert (sender.counts.accepted, sender.counts.duplicates, sender.counts.refused) == (1000, 100, 0)
    assert sorted(stored()) == sorted(events)


def test_version_1_sensors_push(  # noqa: PLR0917 - fixtures
    receive: Callable[..., Running],
    context: Any,
    ring: KeyRing,
    make_events: Callable[..., list[bytes]],
    stored: Callable[..., list[bytes]],
    dead_letters: Callable[[], list[dict[str, Any]]],
    eventually: Callable[..., None],
    reports: Any,
) -> None:
    """Gaps and replays are counted by node; a repeated nonce is reported and its event kept; a replay is not stored."""
    running, events = receive(), make_events(4)
    v1 = V1Sealer(ring.sealing_seed(), V1_CHANNEL, 1, bytes)
    frames = [v1.seal(event) for event in events[:3]]
    reused = V1Sealer(ring.sealing_seed(), V1_CHANNEL, 1, bytes).seal(events[3])
    push = context.socket(zmq.PUSH)
    push.connect(running.receiver.v1_endpoint)
    for frame in (frames[0], frames[2], frames[2], reused, b"forged" * 10):
        push.send(frame)
    eventually("all came", lambda: running.receiver.frames["v1"] == 5)
    eventually("all is stored", lambda: len(stored()) == 3)
    push.close()
    assert stored() == [events[0], events[2], events[3]]
    node = running.receiver.counts()["v1_nodes"]["node-a"]
    assert (node["frames"], node["missing"], node["replays"], node["nonces_reused"]) == (4, 1, 1, 1)
    assert reports.named("nonce_reused") == [{"node": "node-a", "counter": 0, "times": 1}]
    running.stop()
    assert sorted(record["reason"] for record in dead_letters()) == ["bad_tag", "replay"]


@pytest.mark.parametrize("backfill", [False, True])
def test_old_events_of_version_1_come_in_only_where_the_setting_says_so(  # noqa: PLR0917 - fixtures
    receive: Callable[..., Running],
    context: Any,
    ring: KeyRing,
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
    backfill: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Version 1 cannot mark a recording as one, so the receiver has to be told that it gets one."""
    running, (event,) = receive(v1_backfill=backfill), make_events(1)
    old = NetworkSecurityEvent.FromString(event)
    old.event_timestamp.seconds -= 400 * 86_400
    push = context.socket(zmq.PUSH)
    push.connect(running.receiver.v1_endpoint)
    push.send(V1Sealer(ring.sealing_seed(), V1_CHANNEL, 1).seal(old.SerializeToString()))
    eventually(
        "it came", lambda: running.receiver.counts()["accepted"] or running.receiver.counts()["refused"]
    )
    push.close()
    assert running.receiver.counts()["refused"] == ({} if backfill else {"too_old": 1})
    assert running.receiver.counts()["accepted"] == int(backfill)


def test_version_1_sensors_publish(
    receive: Callable[..., Running],
    context: Any,
    ring: KeyRing,
    make_events: Callable[..., list[bytes]],
    stored: Callable[..., list[bytes]],
) -> None:
    """The receiver subscribes to several publishers."""
    events = make_events(2)
    sockets = [context.socket(zmq.XPUB) for _ in events]
    for socket in sockets:
        socket.bind(LOOPBACK)
    receive(v1_sub=[socket.getsockopt_string(zmq.LAST_ENDPOINT) for socket in sockets])
    for number, (socket, event) in enumerate(zip(sockets, events, strict=True), 1):
        assert socket.poll(10_000), "the receiver subscribed"
        socket.recv()
        socket.send(V1Sealer(ring.sealing_seed(), V1_CHANNEL, number).seal(event))
    until = time.monotonic() + 30
    while len(stored()) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    for socket in sockets:
        socket.close()
    assert sorted(stored()) == sorted(events)


def test_a_full_disk_pauses_the_intake_until_there_is_room(  # noqa: PLR0917 - fixtures
    receive: Callable[..., Running],
    connect: Callable[[Running], Peer],
    sealer: V2Sealer,
    make_events: Callable[..., list[bytes]],
    state: StateNames,
    eventually: Callable[..., None],
    reports: Any,
) -> None:
    """Nothing is read or acknowledged above the limit; work for the receiver's thread goes on; it resumes by itself."""
    room = Room(state.root, 0.000001)
    running = receive(room=room)
    peer = connect(running)
    peer.send(sealer.seal(make_events(2))[1])
    eventually("it paused", lambda: running.receiver.gauge.is_paused)
    assert peer.ack(within_s=0.3) is None
    assert running.receiver.call(lambda: 42) == 42
    assert running.receiver.counts()["frames"] == {}
    object.__setattr__(room, "stop_percent", 100.0)
    assert peer.ack() == Ack(0, 2, 0, {})
    assert [name for name, _ in reports.told] == ["intake_paused", "intake_resumed"]


def test_a_full_queue_to_the_indices_holds_the_senders_and_loses_nothing(
    receive: Callable[..., Running],
    context: Any,
    ring: KeyRing,
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
) -> None:
    """While nobody indexes, the intake takes a bounded amount; when the queue moves, all the rest comes."""
    running, events = receive(budget=4096), make_events(3000, seconds=NOON - 3000)
    settings = ReliableSettings(running.receiver.v2_endpoint, new_origin("events"), batch_events=50)
    done = threading.Event()

    def feed() -> None:
        with ReliableSender(context, settings, ring) as sender:
            for event in events:
                sender.send(event)
            sender.flush()
        done.set()

    thread = threading.Thread(target=feed)
    thread.start()
    eventually("the queue is full", lambda: running.tools.indexing.bytes > 0)
    assert not done.wait(0.3)
    rows = 0
    while not done.is_set() or running.tools.indexing.bytes:
        item: Any = running.tools.indexing.get(0.05)
        rows += len(item.payloads) if item is not None else 0
    thread.join()
    while (item := running.tools.indexing.get(0.2)) is not None:
        rows += len(item.payloads)
    assert rows == 3000


def test_batches_of_files_are_done_when_they_are_on_disk(
    receive: Callable[..., Running],
    make_events: Callable[..., list[bytes]],
    stored: Callable[..., list[bytes]],
    dead_letters: Callable[[], list[dict[str, Any]]],
) -> None:
    running, events, done = receive(), make_events(3), threading.Event()
    running.receiver.submit(Batch(events, "folder /x", done.set, [("bad_json", "line 1", b"{")]))
    assert done.wait(10)
    assert stored() == events
    assert [(record["origin"], record["reason"]) for record in dead_letters()] == [("folder /x", "bad_json")]


def test_a_failure_of_called_work_is_the_callers(receive: Callable[..., Running]) -> None:
    running = receive()

    def fail() -> None:
        raise AppiaError("no such day")

    with pytest.raises(AppiaError, match="no such day"):
        running.receiver.call(fail)
    assert running.alive


@pytest.mark.parametrize(
    ("endpoints", "error", "words"),
    [
        (Endpoints(LOOPBACK, "tcp://0.0.0.0:*", [], allow_public_v1=False), UsageError, "allow_public_v1"),
        (Endpoints(LOOPBACK, "tcp://*:*", [], allow_public_v1=False), UsageError, "allow_public_v1"),
        (Endpoints(LOOPBACK, "tcp://8.8.8.8:5570", [], allow_public_v1=False), UsageError, "allow_public_v1"),
        (Endpoints(LOOPBACK, "", ["nonsense"], allow_public_v1=True), UsageError, "tcp://HOST:PORT"),
        (Endpoints(LOOPBACK, "", ["tcp://8.8.8.8:1"], allow_public_v1=False), UsageError, "allow_public_v1"),
        (Endpoints(LOOPBACK, "", ["tcp://sensor:1"], allow_public_v1=False), UsageError, "a name may lead"),
        (Endpoints("nonsense", "", [], allow_public_v1=False), AppiaError, "cannot be bound"),
    ],
)
def test_endpoints_that_cannot_be(
    receive: Callable[..., Running],
    context: Any,
    endpoints: Endpoints,
    error: type[AppiaError],
    words: str,
) -> None:
    """Version 1 stays off the internet unless told otherwise, and a wrong endpoint is said in a sentence."""
    tools = receive().tools
    with pytest.raises(error, match=words):
        Receiver(context, endpoints, tools)


def test_version_1_may_be_opened_to_all_by_a_setting(context: Any, receive: Callable[..., Running]) -> None:
    tools = receive().tools
    opened = Receiver(context, Endpoints(LOOPBACK, "tcp://0.0.0.0:*", [], allow_public_v1=True), tools)
    assert opened.v1_endpoint.startswith("tcp://0.0.0.0:")
    opened._close_sockets(linger_ms=0)


def test_a_port_in_use_is_named(context: Any, receive: Callable[..., Running]) -> None:
    """The sentence names the endpoint and what to do; whoever has it goes on."""
    running = receive()
    taken = running.receiver.v2_endpoint
    with pytest.raises(AppiaError, match=f"{taken} cannot be bound.*stop the process that has it"):
        Receiver(context, Endpoints(taken, "", [], allow_public_v1=False), running.tools)
    assert running.alive
