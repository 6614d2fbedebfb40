"""Keys and replays at the receiver, over real sockets: rotation while events come, revocation, restarts, rollbacks."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from services.common.errors import AppiaError
from services.common.wire import ring_watch
from services.common.wire.acks import Ack, read_ack
from services.common.wire.keys import KeyRing, new_key_ring, read_key_ring
from services.common.wire.ring_changes import new_node_seed, retire_key, revoke_key, rotate_ring
from services.common.wire.ring_watch import RingWatch
from services.common.wire.v1 import V1Sealer
from services.common.wire.v2 import Direction, DirectionKeys, Origin, V2Sealer, authenticate
from services.feed.reliable import ReliableSender, ReliableSettings, new_origin
from services.ingester.firewalls import Firewalls
from services.ingester.queue import ByteQueue
from services.ingester.receiver import Endpoints, Receiver, ReceiverTools
from services.ingester.room import Room
from services.ingester.settings import IngesterSettings
from services.ingester.wire_keys import SENDERS, open_wire_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.common.days.names import StateNames
    from services.common.durable import Disk

LOOPBACK = "tcp://127.0.0.1:*"
V1_CHANNEL = "ml-defender:ml-detector-to-firewall:v1"
DAY = "2026-01-22"
NOON = 1_769_040_000 + 43_200


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_watch, "LOOK_EVERY_S", 0.02)


@pytest.fixture
def ring(state: StateNames) -> KeyRing:
    return new_key_ring(state.keys)


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as found:
        yield found


class Running:
    """A receiver in its thread, with the keys as the ingester opens them."""

    def __init__(self, receiver: Receiver, tools: ReceiverTools) -> None:
        self.receiver = receiver
        self.tools = tools
        self._thread = threading.Thread(target=receiver.run)
        self._thread.start()

    def counts(self) -> dict[str, Any]:
        return self.receiver.counts()

    def stop(self) -> None:
        self.tools.indexing.close()
        self.receiver.stop()
        self._thread.join()


@pytest.fixture
def receive(  # noqa: PLR0917 - fixtures
    start: Callable[[], Any], state: StateNames, disk: Disk, context: Any, ring: KeyRing, reports: Any
) -> Iterator[Callable[[], Running]]:
    """Start a receiver as the ingester does."""
    running: list[Running] = []
    assert read_key_ring(state.keys) == ring

    def make() -> Running:
        opened = start()
        opened.is_closed_elsewhere = True
        values: dict[str, Any] = {"state": state.root, "keys": state.keys, "v1_pull": LOOPBACK}
        wire = open_wire_keys(IngesterSettings(**values), state, disk, reports)
        room, queue = Room(state.root, 100.0), ByteQueue(1 << 30)
        tools = ReceiverTools(
            wire.frames,
            opened.intake,
            opened.dead_letter,
            queue,
            room,
            reports,
            Firewalls(opened.decisions),
            follow_keys=wire.follow,
        )
        endpoints = Endpoints(LOOPBACK, LOOPBACK, [], allow_public_v1=False)
        running.append(Running(Receiver(context, endpoints, tools), tools))
        return running[-1]

    yield make
    for one in running:
        one.stop()


class Peer:
    """A sender by hand: sends any bytes, reads acknowledgements under the ring it was given."""

    def __init__(self, context: Any, kind: int, endpoint: str, ring: KeyRing) -> None:
        self.socket = context.socket(kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)
        self._keys = DirectionKeys(ring, "events", Direction.ACK)

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self.socket.send(frame)

    def ack(self, within_s: float = 10.0) -> Ack | None:
        if not self.socket.poll(int(within_s * 1000)):
            return None
        return read_ack(authenticate(self.socket.recv(), self._keys)[1])


@pytest.fixture
def v2_peer(context: Any, ring: KeyRing) -> Iterator[Callable[[Running], Peer]]:
    peers: list[Peer] = []

    def make(running: Running) -> Peer:
        peers.append(Peer(context, zmq.DEALER, running.receiver.v2_endpoint, ring))
        return peers[-1]

    yield make
    for peer in peers:
        peer.socket.close()


@pytest.fixture
def v1_peer(context: Any, ring: KeyRing) -> Iterator[Callable[[Running], Peer]]:
    peers: list[Peer] = []

    def make(running: Running) -> Peer:
        peers.append(Peer(context, zmq.PUSH, running.receiver.v1_endpoint, ring))
        return peers[-1]

    yield make
    for peer in peers:
        peer.socket.close()


@pytest.fixture
def stored(state: StateNames, logged: Callable[..., list[bytes]]) -> Callable[[], list[bytes]]:
    def read() -> list[bytes]:
        names = state.day(DAY)
        return [event for number in names.segments() for event in logged(names.segment(number))]

    return read


def _send_and_wait(sender: ReliableSender, event: bytes) -> None:
    sender.send(event)
    sender.flush()


def test_keys_are_rotated_and_revoked_while_a_feed_runs(  # noqa: PLR0917 - fixtures
    receive: Callable[[], Running],
    context: Any,
    ring: KeyRing,
    state: StateNames,
    disk: Disk,
    make_events: Callable[..., list[bytes]],
    stored: Callable[[], list[bytes]],
    eventually: Callable[..., None],
    reports: Any,
) -> None:
    """Six rotations, each with the end of the key before it, under a feed that never stops: nothing lost or twice."""
    running, events = receive(), make_events(3000, seconds=NOON - 3000)
    settings = ReliableSettings(
        running.receiver.v2_endpoint, new_origin("events"), batch_events=10, resend_after_s=0.1
    )
    told: list[str] = []
    watch = RingWatch(state.keys, ring, lambda event, _: told.append(event))
    keys = [ring.primary]
    with ReliableSender(context, settings, ring, watch=watch) as sender:
        for number, event in enumerate(events):
            if number % 500 == 250:
                keys.append(rotate_ring(state.keys, disk).primary)
                end = revoke_key if number % 1000 == 250 else retire_key
                end(state.keys, disk, keys[-2])
            sender.send(event)
        sender.flush()
        assert (sender.counts.refused, sender.counts.acknowledged) == (0, len(events))
    assert sorted(stored()) == sorted(events)
    assert len(keys) == 7
    assert "key_ring_changed" in told
    # The last key may have sealed nothing, for the sender, too, looks only now and then.
    eventually("the last key is known", lambda: reports.named("key_ring_changed")[-1]["primary"] == keys[-1])


def test_a_sender_with_a_revoked_key_is_refused_and_told_why(  # noqa: PLR0917 - fixtures
    receive: Callable[[], Running],
    context: Any,
    ring: KeyRing,
    state: StateNames,
    disk: Disk,
    make_events: Callable[..., list[bytes]],
    stored: Callable[[], list[bytes]],
    eventually: Callable[..., None],
    reports: Any,
) -> None:
    """Its connection and its derived key were known before; the log names the reason once, the sender its key."""
    running, events = receive(), make_events(20)
    settings = ReliableSettings(
        running.receiver.v2_endpoint,
        new_origin("events"),
        batch_events=1,
        resend_after_s=0.05,
        give_up_after_s=0.5,
    )
    with ReliableSender(context, settings, ring) as sender:
        sender.send(events[0])
        sender.flush()
        rotate_ring(state.keys, disk)
        revoke_key(state.keys, disk, ring.primary)
        eventually("the receiver took it up", lambda: len(reports.named("key_ring_changed")) >= 1)
        with pytest.raises(AppiaError, match=rf"knows key {ring.primary} and has not revoked it"):
            _send_and_wait(sender, events[1])
    assert stored() == events[:1]
    assert running.counts()["refused"]["revoked_key"] >= 2
    (refused,) = reports.named("frame_refused")
    assert (refused["reason"], refused["times"]) == ("revoked_key", 1)
    assert f"key {ring.primary} is revoked" in refused["why"]


def test_an_endpoint_speaks_one_version(  # noqa: PLR0917 - fixtures
    receive: Callable[[], Running],
    v1_peer: Callable[[Running], Peer],
    v2_peer: Callable[[Running], Peer],
    ring: KeyRing,
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
) -> None:
    """Frames of the other version, sealed with the right seed, are refused: nobody can talk an endpoint down."""
    running, (event,) = receive(), make_events(1)
    down, up = v2_peer(running), v1_peer(running)
    down.send(V1Sealer(ring.sealing_seed(), V1_CHANNEL, 1).seal(event))
    down.send(V1Sealer(ring.sealing_seed(), "events", 1).seal(event))
    up.send(V2Sealer(ring, Origin("events", 1, 1)).seal([event])[1])
    eventually("all came", lambda: running.counts()["frames"].get("refused") == 3)
    assert down.ack(within_s=0.1) is None
    assert running.counts()["refused"] == {"bad_magic": 2, "bad_tag": 1}
    assert running.counts()["accepted"] == 0


def test_a_receiver_whose_memory_of_senders_was_rolled_back_takes_no_event_twice(  # noqa: PLR0917 - fixtures
    receive: Callable[[], Running],
    v2_peer: Callable[[Running], Peer],
    ring: KeyRing,
    state: StateNames,
    make_events: Callable[..., list[bytes]],
    stored: Callable[[], list[bytes]],
) -> None:
    """Old boots are opened again then; their events are known by their content, and acknowledged as such."""
    events = make_events(6)
    old, new = (V2Sealer(ring, Origin("events", 7, boot)) for boot in (5, 6))
    recorded = [old.seal(events[:3])[1], old.seal([events[3]])[1]]
    first = receive()
    peer = v2_peer(first)
    peer.send(*recorded)
    assert [peer.ack(), peer.ack()] == [Ack(0, 3, 0), Ack(1, 1, 0)]
    shutil.copy(state.run / SENDERS, state.root / "copy")
    peer.send(new.seal(events[4:])[1])
    assert peer.ack() == Ack(0, 2, 0)
    peer.send(recorded[0])
    assert peer.ack(within_s=0.2) is None, "an older boot is not answered"
    first.stop()
    shutil.copy(state.root / "copy", state.run / SENDERS)
    second = receive()
    peer = v2_peer(second)
    peer.send(*recorded)
    assert [peer.ack(), peer.ack()] == [Ack(0, 0, 3), Ack(1, 0, 1)]
    second.stop()
    (state.run / SENDERS).unlink()
    third = receive()
    peer = v2_peer(third)
    peer.send(*recorded)
    assert [peer.ack(), peer.ack()] == [Ack(0, 0, 3), Ack(1, 0, 1)]
    assert stored() == events


def test_a_version_1_frame_is_a_replay_after_a_restart_too(  # noqa: PLR0917 - fixtures
    receive: Callable[[], Running],
    v1_peer: Callable[[Running], Peer],
    ring: KeyRing,
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
    stored: Callable[[], list[bytes]],
    reports: Any,
) -> None:
    """The memory of 24 hours lies on disk: what came before the restart is refused, its nonces raise the alarm."""
    events = make_events(3)
    frames = [V1Sealer(ring.sealing_seed(), V1_CHANNEL, 1, bytes).seal(event) for event in events]
    first = receive()
    v1_peer(first).send(frames[0])
    eventually("it is stored", lambda: first.counts()["accepted"] == 1)
    first.stop()
    second = receive()
    v1_peer(second).send(frames[0], frames[1])
    eventually("both came", lambda: second.counts()["frames"].get("v1") == 2)
    eventually("one is stored", lambda: second.counts()["accepted"] == 1)
    node = second.counts()["v1_nodes"]["node-a"]
    assert (node["replays"], node["nonces_reused"]) == (1, 1)
    assert reports.named("nonce_reused") == [{"node": "node-a", "counter": 0, "times": 1}]
    assert second.counts()["duplicates"] == 0
    assert stored() == events[:2]


def test_a_memory_that_cannot_be_used_is_said_in_a_sentence(
    receive: Callable[[], Running], state: StateNames
) -> None:
    """A folder in its place: the start fails with the path and what to do."""
    (state.run / "v1-seen").mkdir()
    with pytest.raises(AppiaError, match="v1-seen cannot be used"):
        receive()


def test_many_alarms_are_one_line(  # noqa: PLR0917 - fixtures
    receive: Callable[[], Running],
    v1_peer: Callable[[Running], Peer],
    ring: KeyRing,
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
    reports: Any,
) -> None:
    """A sensor that restarted repeats a nonce with every frame: all are counted and stored, one is logged."""
    running, events = receive(), make_events(300)
    before, after = (V1Sealer(ring.sealing_seed(), V1_CHANNEL, 1, bytes) for _ in range(2))
    peer = v1_peer(running)
    peer.send(*map(before.seal, events[:150]))
    peer.send(*map(after.seal, events[150:]))
    eventually("all came", lambda: running.counts()["accepted"] == 300)
    assert running.counts()["v1_nodes"]["node-a"]["nonces_reused"] == 150
    assert len(reports.named("nonce_reused")) == 1


def test_a_node_with_a_seed_of_its_own_is_believed_under_that_one_only(  # noqa: PLR0917 - fixtures
    receive: Callable[[], Running],
    v1_peer: Callable[[Running], Peer],
    ring: KeyRing,
    state: StateNames,
    disk: Disk,
    make_event: Callable[..., bytes],
    eventually: Callable[..., None],
    dead_letters: Callable[[], list[dict[str, Any]]],
    stored: Callable[[], list[bytes]],
    reports: Any,
) -> None:
    """The seed is taken up while it runs; who shares the other one cannot speak for that node, nor it for others."""
    running, peer = (one := receive()), v1_peer(one)
    shared = V1Sealer(ring.sealing_seed(), V1_CHANNEL, 1)
    node_a, node_b = make_event("a"), make_event("b", originating_node_id="node-b")
    peer.send(shared.seal(node_a), shared.seal(node_b))
    eventually("both are taken", lambda: running.counts()["accepted"] == 2)
    own = V1Sealer(bytes.fromhex(new_node_seed(state.keys, disk, "node-a").read_text()), V1_CHANNEL, 1)
    eventually("it is taken up", lambda: reports.named("key_ring_changed"))
    forged = shared.seal(make_event("forged"))
    peer.send(
        forged,
        forged,
        own.seal(make_event("too", originating_node_id="node-b")),
        own.seal(make_event("good")),
        shared.seal(make_event("fine", originating_node_id="node-b")),
    )
    eventually("all came", lambda: running.counts()["frames"]["v1"] == 7)
    eventually("two are taken", lambda: running.counts()["accepted"] == 4)
    assert running.counts()["refused"] == {"wrong_node": 2, "replay": 1}
    running.stop()
    kept = [record["data"] for record in dead_letters() if record["reason"] == "wrong_node"]
    assert kept[0] == forged
    assert len(kept) == 2
    assert len(stored()) == 4
