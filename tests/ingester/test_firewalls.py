"""Decisions over the wire: the receiver takes them in both versions, and never takes one thing for the other."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from services.common.decisions.follower import DecisionFollower
from services.common.errors import UsageError
from services.common.events.network_security_pb2 import Detection, DetectionBatch
from services.common.wire.keys import FIREWALL_DECISIONS, KeyRing, new_key_ring
from services.common.wire.senders import SenderTable
from services.common.wire.sessions import V2Receiver
from services.common.wire.v1 import V1Opener, V1Sealer
from services.common.wire.v1_counters import V1Counters
from services.common.wire.v1_seen import SeenFrames
from services.feed.reliable import ReliableSender, ReliableSettings, new_origin
from services.ingester.firewalls import FirewallPlaces, Firewalls, open_sockets
from services.ingester.queue import ByteQueue
from services.ingester.receiver import Endpoints, Frames, Receiver, ReceiverTools
from services.ingester.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.common.days.names import StateNames
    from services.common.wire.acks import Ack

LOOPBACK = "tcp://127.0.0.1:*"
CHANNEL = "ml-defender:ml-detector-to-firewall:v1"
NOON = 1_769_083_200


def batch(*addresses: str) -> bytes:
    return DetectionBatch(
        detections=[Detection(src_ip=one, timestamp=NOON, action="BLOCK") for one in addresses]
    ).SerializeToString()


@pytest.fixture
def context() -> Iterator[Any]:
    with zmq.Context() as made:
        yield made


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return new_key_ring(tmp_path / "keys")


@pytest.fixture
def receiver(
    start: Callable[[], Any], state: StateNames, context: Any, ring: KeyRing, reports: Any
) -> Iterator[Receiver]:
    opened = start()
    opened.is_closed_elsewhere = True
    frames = Frames(
        V2Receiver(ring, "events", SenderTable(state.run / "senders.json")),
        V1Opener(ring.opening_seeds(), CHANNEL),
        V1Counters(SeenFrames(1024)),
    )
    sockets = open_sockets(context, FirewallPlaces(LOOPBACK), reports)
    firewalls = Firewalls(opened.decisions, sockets, V1Opener(ring.opening_seeds(), FIREWALL_DECISIONS))
    queue, room = ByteQueue(1 << 30), Room(state.root, 100.0)
    tools = ReceiverTools(frames, opened.intake, opened.dead_letter, queue, room, reports, firewalls)
    made = Receiver(context, Endpoints(LOOPBACK, LOOPBACK, [], allow_public_v1=False), tools)
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    queue.close()
    made.stop()
    thread.join()


@pytest.fixture
def known(state: StateNames) -> Callable[[], int]:
    """How many decisions are on disk."""

    def count() -> int:
        follower = DecisionFollower(state)
        follower.poll()
        return len(follower.page)

    return count


def test_version_2_frames_are_acknowledged_when_their_decisions_are_on_disk(
    receiver: Receiver, context: Any, ring: KeyRing, known: Callable[[], int]
) -> None:
    """A frame with the flag is answered with how many decisions were new, known and refused; none becomes an event."""
    acks: list[Ack] = []
    settings = ReliableSettings(receiver.v2_endpoint, new_origin("events"), decisions=True)
    with ReliableSender(context, settings, ring, acks.append) as sender:
        sender.send(batch("192.0.2.1", "192.0.2.2"))
        sender.send(batch("192.0.2.2", "no address"))
        sender.flush()
    assert [(one.accepted, one.duplicates, one.refused) for one in acks] == [(2, 1, {"decision_address": 1})]
    assert known() == 2
    assert receiver.counts()["accepted"] == 0
    assert receiver.counts()["decisions"]["accepted"] == 2


def test_events_and_decisions_do_not_pass_for_each_other(
    receiver: Receiver,
    context: Any,
    ring: KeyRing,
    make_event: Callable[..., bytes],
    known: Callable[[], int],
) -> None:
    """An event under the flag of decisions is refused as none, and a batch of decisions without it as no event."""
    acks: list[Ack] = []
    for decisions, payload in ((True, make_event()), (False, batch("192.0.2.1"))):
        settings = ReliableSettings(receiver.v2_endpoint, new_origin("events"), decisions=decisions)
        with ReliableSender(context, settings, ring, acks.append) as sender:
            sender.send(payload)
            sender.flush()
    assert [one.accepted for one in acks] == [0, 0]
    assert all(one.refused for one in acks)
    assert (known(), receiver.counts()["accepted"]) == (0, 0)


def test_version_1_firewalls_have_an_endpoint_and_a_channel_of_their_own(
    receiver: Receiver,
    context: Any,
    ring: KeyRing,
    known: Callable[[], int],
    eventually: Callable[..., None],
) -> None:
    """A frame of the channel is taken; one of the sensors' channel is forged there, and the other way round."""
    ours = V1Sealer(ring.sealing_seed(), FIREWALL_DECISIONS, 7)
    theirs = V1Sealer(ring.sealing_seed(), CHANNEL, 8)
    with context.socket(zmq.PUSH) as firewall, context.socket(zmq.PUSH) as sensor:
        firewall.connect(receiver.firewall_endpoint)
        sensor.connect(receiver.v1_endpoint)
        frame = ours.seal(batch("192.0.2.1", "192.0.2.2"))
        for sent in (frame, frame, theirs.seal(batch("192.0.2.3"))):
            firewall.send(sent)
        sensor.send(ours.seal(batch("192.0.2.4")))
        eventually("all was looked at", lambda: receiver.frames["firewall"] + receiver.frames["v1"] == 4)
        eventually("the others were refused", lambda: receiver.frames["refused"] == 3)
    eventually("it is on disk", lambda: known() == 2)
    refused = receiver.counts()["refused"]
    assert (refused["bad_tag"], refused["replay"]) == (2, 1)
    assert receiver.counts()["v1_nodes"]["firewall"]["frames"] == 2


def test_firewalls_do_not_listen_to_the_world(context: Any, reports: Any) -> None:
    """As for sensors of version 1, beyond private networks it has to be allowed."""
    with pytest.raises(UsageError, match="allow_public_v1"):
        open_sockets(context, FirewallPlaces("tcp://0.0.0.0:5555"), reports)
