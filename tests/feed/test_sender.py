"""Version 1 senders against real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import zmq

from services.common.errors import AppiaError, UsageError
from services.common.wire.refusals import FrameRefused
from services.common.wire.v1 import V1Opener, V1Sealer
from services.feed.sender import V1Pub, V1Push

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = bytes(range(32))
CHANNEL = "ml-defender:ml-detector-to-firewall:v1"
EVENTS = [f"event {number}".encode() for number in range(300)]


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def pull(context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[zmq.Socket[bytes]]:
    """A PULL socket that listens on a free port of the loopback."""
    with context.socket(zmq.PULL) as socket:
        socket.bind("tcp://127.0.0.1:*")
        yield socket


def endpoint_of(socket: zmq.Socket[bytes]) -> str:
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


@pytest.fixture
def sealer() -> V1Sealer:
    return V1Sealer(SEED, CHANNEL, 9)


def take(socket: zmq.Socket[bytes], frames: int) -> list[bytes]:
    socket.setsockopt(zmq.RCVTIMEO, 10_000)
    opener = V1Opener([SEED], CHANNEL)
    return [opener.open(socket.recv()).payload for _ in range(frames)]


def test_push_delivers_every_event_in_order(
    context: zmq.Context[zmq.Socket[bytes]], pull: zmq.Socket[bytes], sealer: V1Sealer
) -> None:
    """A PULL socket gets one frame an event; close leaves nothing behind in the queue."""
    with V1Push(context, endpoint_of(pull), sealer) as sender:
        for event in EVENTS:
            sender.send(event)
        sender.flush()
    assert take(pull, len(EVENTS)) == EVENTS
    assert sender.counts.events == sender.counts.frames == len(EVENTS)
    assert sender.counts.frame_bytes > sum(map(len, EVENTS))
    assert sender.counts.acknowledged == 0


def test_pub_waits_for_a_subscriber_and_for_a_slow_one(
    context: zmq.Context[zmq.Socket[bytes]], sealer: V1Sealer
) -> None:
    """What is sent after the subscription arrives whole, also through short queues."""
    with context.socket(zmq.SUB) as sub, V1Pub(context, "tcp://127.0.0.1:*", sealer) as sender:
        sub.setsockopt(zmq.RCVHWM, 1)
        sub.subscribe(b"")
        sub.connect(sender.endpoint)
        sender.wait_for_subscriber(10)
        for event in EVENTS:
            sender.send(event)
        assert take(sub, len(EVENTS)) == EVENTS


def test_a_push_that_nobody_takes_is_an_error(
    context: zmq.Context[zmq.Socket[bytes]], sealer: V1Sealer
) -> None:
    """Without a receiver the first event fails, instead of being queued for nobody."""
    with (
        V1Push(context, "tcp://127.0.0.1:9", sealer, send_timeout_s=0.05) as sender,
        pytest.raises(AppiaError, match=r"127\.0\.0\.1:9.*check that the receiver"),
    ):
        sender.send(b"event")
    assert sender.counts.events == 0


def test_a_publisher_without_a_subscriber_says_so(
    context: zmq.Context[zmq.Socket[bytes]], sealer: V1Sealer
) -> None:
    """Waiting ends after its time with the endpoint in the sentence."""
    with V1Pub(context, "tcp://127.0.0.1:*", sealer) as sender, pytest.raises(AppiaError, match="Nobody"):
        sender.wait_for_subscriber(0.05)


@pytest.mark.parametrize("kind", [V1Push, V1Pub])
def test_an_endpoint_that_is_none_is_a_usage_error(
    context: zmq.Context[zmq.Socket[bytes]], sealer: V1Sealer, kind: type[V1Push | V1Pub]
) -> None:
    """A typing mistake is answered with an example."""
    with pytest.raises(UsageError, match="give an endpoint such as"):
        kind(context, "127.0.0.1", sealer)


def test_an_endpoint_that_is_taken_is_a_usage_error(
    context: zmq.Context[zmq.Socket[bytes]], sealer: V1Sealer
) -> None:
    """Two publishers cannot have one port."""
    with V1Pub(context, "tcp://127.0.0.1:*", sealer) as sender, pytest.raises(UsageError, match="in use"):
        V1Pub(context, sender.endpoint, sealer)


def test_an_event_that_fits_no_frame_is_refused_and_the_next_is_sent(
    context: zmq.Context[zmq.Socket[bytes]], pull: zmq.Socket[bytes], sealer: V1Sealer
) -> None:
    """One bad event does not end a feed, and closing twice does no harm."""
    sender = V1Push(context, endpoint_of(pull), sealer)
    for event in (b"", bytes((1 << 20) + 1)):
        with pytest.raises(FrameRefused):
            sender.send(event)
    sender.send(b"event")
    sender.close()
    sender.close()
    assert take(pull, 1) == [b"event"]
