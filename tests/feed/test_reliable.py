"""The reliable sender against real receivers that lose, delay, refuse, and are killed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
import zmq

from services.common.errors import AppiaError, UsageError
from services.common.wire.acks import Ack
from services.common.wire.keys import KeyRing
from services.common.wire.refusals import FrameRefused
from services.common.wire.senders import SenderTable
from services.common.wire.sessions import AlreadyHandled, V2Receiver
from services.common.wire.v2 import Origin, V2Sealer
from services.feed.reliable import ReliableSender, ReliableSettings, new_origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SEED = bytes(range(32))
RING = KeyRing(5, {5: SEED})
EVENTS = [f"event {number}".encode() for number in range(2000)]

# A receiver with the promise of the real one: stored and synced, then acknowledged.
RECEIVER = """
import os, sys
from pathlib import Path
import zmq
from services.common.wire.keys import KeyRing
from services.common.wire.senders import SenderTable
from services.common.wire.sessions import AlreadyHandled, V2Receiver

folder, endpoint = Path(sys.argv[1]), sys.argv[2]
receiver = V2Receiver(KeyRing(5, {5: bytes(range(32))}), "events", SenderTable(folder / "senders.json"))
socket = zmq.Context().socket(zmq.ROUTER)
socket.bind(endpoint)
print(socket.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
with (folder / "events").open("ab") as log:
    while True:
        identity, frame = socket.recv_multipart()
        opened = receiver.open(frame)
        if isinstance(opened, AlreadyHandled):
            answer = opened.ack
        else:
            log.write(b"".join(payload + b"\\n" for payload in opened.payloads))
            log.flush()
            os.fsync(log.fileno())
            answer = receiver.acknowledge(opened, len(opened.payloads), 0, {})
        if answer is not None:
            socket.send_multipart([identity, answer])
"""


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


class Peer:
    """A receiver in a thread; `answer` says what goes back for each new frame, or None to say nothing."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], table: SenderTable) -> None:
        self.receiver = V2Receiver(RING, "events", table)
        self.payloads: list[bytes] = []
        self.backfill: set[bool] = set()
        self.answer: Callable[[int, bytes], list[bytes]] = lambda _, ack: [ack]
        self._socket = context.socket(zmq.ROUTER)
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close(linger=0)

    def _run(self) -> None:
        while not self._over.is_set():
            if not self._socket.poll(20):
                continue
            identity, frame = self._socket.recv_multipart()
            for answer in self._answers(frame):
                self._socket.send_multipart([identity, answer])

    def _answers(self, frame: bytes) -> list[bytes]:
        opened = self.receiver.open(frame)
        if isinstance(opened, AlreadyHandled):
            return [opened.ack] if opened.ack else []
        self.payloads += opened.payloads
        self.backfill.add(opened.backfill)
        return self.answer(opened.seq, self.receiver.acknowledge(opened, len(opened.payloads), 0, {}))


@pytest.fixture
def peer(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> Iterator[Peer]:
    peer = Peer(context, SenderTable(tmp_path / "senders.json"))
    yield peer
    peer.close()


def settings(endpoint: str, **changes: object) -> ReliableSettings:
    quick = {"resend_after_s": 0.1, "resend_at_most_s": 0.2, "give_up_after_s": 20.0, **changes}
    return ReliableSettings(endpoint, new_origin("events"), **quick)  # type: ignore[arg-type]


def send_all(sender: ReliableSender, events: list[bytes]) -> None:
    for event in events:
        sender.send(event)


def test_every_event_arrives_once_and_is_acknowledged(
    context: zmq.Context[zmq.Socket[bytes]], peer: Peer
) -> None:
    """Batches keep the order; the acknowledgements add up; each is reported once."""
    acks: list[Ack] = []
    with ReliableSender(context, settings(peer.endpoint), RING, acks.append) as sender:
        send_all(sender, EVENTS)
        sender.flush()
    assert peer.payloads == EVENTS
    assert peer.backfill == {False}
    assert sender.counts.events == sender.counts.acknowledged == sender.counts.accepted == len(EVENTS)
    assert sum(ack.accepted for ack in acks) == len(EVENTS)
    assert len(acks) == sender.counts.frames < len(EVENTS) / 10


def test_lost_acknowledgements_are_asked_for_again(
    context: zmq.Context[zmq.Socket[bytes]], peer: Peer
) -> None:
    """Frames whose answer was lost are sent again, answered again, and stored once."""
    peer.answer = lambda seq, ack: [ack] if seq % 3 else []
    with ReliableSender(context, settings(peer.endpoint, batch_events=10), RING) as sender:
        send_all(sender, EVENTS)
        sender.flush()
    assert peer.payloads == EVENTS
    assert sender.counts.acknowledged == len(EVENTS)
    assert sender.counts.resent_frames > 0


def test_false_answers_are_counted_and_change_nothing(
    context: zmq.Context[zmq.Socket[bytes]], peer: Peer, tmp_path: Path
) -> None:
    """Noise, changed answers, answers to others and repeated ones acknowledge nothing."""
    others = V2Receiver(RING, "events", SenderTable(tmp_path / "other.json"))
    opened = others.open(V2Sealer(RING, Origin("events", 1, 1)).seal([b"event"])[1])
    assert not isinstance(opened, AlreadyHandled)
    foreign = others.acknowledge(opened, 1, 0, {})
    peer.answer = lambda _, ack: [b"noise", ack[:-1] + bytes([ack[-1] ^ 1]), foreign, ack, ack]
    with ReliableSender(context, settings(peer.endpoint), RING) as sender:
        sender.send(b"event")
        sender.flush()
        sender.send(b"another")
        sender.flush()
    assert sender.counts.acknowledged == 2
    assert sender.counts.refused_acks >= 3


def test_what_the_receiver_refused_is_reported(context: zmq.Context[zmq.Socket[bytes]], peer: Peer) -> None:
    """Refusals end the waiting like acceptances, with their reasons."""
    acks: list[Ack] = []
    acknowledge = peer.receiver.acknowledge
    peer.receiver.acknowledge = (  # type: ignore[method-assign]
        lambda opened, *_: acknowledge(opened, 1, 2, {"not_an_event": 3})
    )
    with ReliableSender(context, settings(peer.endpoint, backfill=True), RING, acks.append) as sender:
        for event in EVENTS[:6]:
            sender.send(event)
        sender.flush()
    assert acks == [Ack(0, 1, 2, {"not_an_event": 3})]
    counts = sender.counts
    assert (counts.acknowledged, counts.accepted, counts.duplicates, counts.refused) == (6, 1, 2, 3)
    assert peer.backfill == {True}


def test_the_window_is_bounded(context: zmq.Context[zmq.Socket[bytes]], peer: Peer) -> None:
    """With no answer, send blocks at the window's limit and gives up with a sentence; nothing piles up."""
    peer.answer = lambda _seq, _ack: []
    limits = settings(peer.endpoint, batch_events=1, window_frames=4, give_up_after_s=0.3, resend_after_s=9)
    with (
        ReliableSender(context, limits, RING) as sender,
        pytest.raises(AppiaError, match=r"4 events in 4 frames were not acknowledged .* 0\.3 s: check"),
    ):
        send_all(sender, EVENTS)
    assert sender.counts.frames == 4


def test_the_window_is_bounded_in_bytes(context: zmq.Context[zmq.Socket[bytes]], peer: Peer) -> None:
    """Large frames fill the window before their number does."""
    peer.answer = lambda _seq, _ack: []
    limits = settings(peer.endpoint, batch_events=1, window_bytes=150, give_up_after_s=0.3, resend_after_s=9)
    with ReliableSender(context, limits, RING) as sender, pytest.raises(AppiaError, match="2 frames"):
        send_all(sender, EVENTS)


def test_the_window_counts_from_the_oldest_frame(context: zmq.Context[zmq.Socket[bytes]], peer: Peer) -> None:
    """One frame without an answer holds the others, so that it stays inside the receiver's replay window."""
    peer.answer = lambda seq, ack: [ack] if seq else []
    limits = settings(peer.endpoint, batch_events=1, window_frames=8, give_up_after_s=0.5, resend_after_s=9)
    with (
        ReliableSender(context, limits, RING) as sender,
        pytest.raises(AppiaError, match="1 events in 1 frames"),
    ):
        send_all(sender, EVENTS)
    assert sender.counts.frames == 8


def test_without_a_receiver_it_gives_up_and_says_why(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """Nobody listening is told apart from nobody answering."""
    limits = settings("tcp://127.0.0.1:9", give_up_after_s=0.2)
    with ReliableSender(context, limits, RING) as sender:
        sender.send(b"event")
        with pytest.raises(AppiaError, match="nobody answers there"):
            sender.flush()


def test_a_silence_is_told_once_before_it_gives_up(
    context: zmq.Context[zmq.Socket[bytes]], peer: Peer
) -> None:
    """As under a key that was revoked: what to look at is said while there is time, and again after the next answer."""
    told: list[str] = []
    peer.answer = lambda _seq, _ack: []  # what is sent again is acknowledged
    limits = settings(peer.endpoint, tell_after_s=0.2, resend_after_s=0.6)
    with ReliableSender(context, limits, RING) as sender:
        sender.on_silence = told.append
        for _ in range(2):
            sender.send(b"event")
            sender.flush()
    assert len(told) == 2
    assert (
        "has acknowledged nothing for 0.2 s, and is tried until it is 20 s: check that the receiver"
        in told[0]
    )


def test_the_silence_is_told_in_time(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """Also where the next time to send again is later; nobody who listens is another sentence."""
    told: list[float] = []
    limits = settings("tcp://127.0.0.1:9", tell_after_s=0.3, give_up_after_s=2.0, resend_after_s=9.0)
    with ReliableSender(context, limits, RING) as sender:
        sender.on_silence = lambda said: told.append(time.monotonic()) if "nobody answers" in said else None
        sender.send(b"event")
        with pytest.raises(AppiaError, match="nobody answers there"):
            sender.flush()
    assert len(told) == 1
    assert time.monotonic() - told[0] > 1.0


def test_a_slow_feed_does_not_wait_for_a_full_batch(
    context: zmq.Context[zmq.Socket[bytes]], peer: Peer
) -> None:
    """A batch that is old enough is shipped by poll, or by the next event."""
    with ReliableSender(context, settings(peer.endpoint, batch_wait_s=0.0), RING) as sender:
        sender.send(b"one")
        assert sender.counts.frames == 1
    with ReliableSender(context, settings(peer.endpoint, batch_wait_s=0.01), RING) as sender:
        sender.send(b"two")
        while sender.counts.acknowledged == 0:
            sender.poll()
    assert sender.counts.frames == 1


def test_events_of_any_size_that_fits_are_sent(context: zmq.Context[zmq.Socket[bytes]], peer: Peer) -> None:
    """A large event goes alone and in its place; an empty or too large one is refused, no other."""
    events = [b"small", bytes(700_000), b"small again", b"x" * 300_000, b"y" * 300_000]
    with ReliableSender(context, settings(peer.endpoint), RING) as sender:
        for event in events:
            sender.send(event)
            for wrong in (b"", bytes((1 << 20) + 1)):
                with pytest.raises(FrameRefused):
                    sender.send(wrong)
        sender.flush()
    assert peer.payloads == events
    assert sender.counts.events == len(events)


def test_a_receiver_killed_in_mid_feed_loses_nothing(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    """kill -9 twice and a restart each time: every event is in its log, and all were acknowledged."""

    def start(endpoint: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-c", RECEIVER, str(tmp_path), endpoint]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    process, endpoint = start("tcp://127.0.0.1:*")
    try:
        with ReliableSender(context, settings(endpoint, batch_events=5), RING) as sender:
            for number, event in enumerate(EVENTS):
                sender.send(event)
                if number in (700, 1400):
                    process.kill()
                    process.communicate()
                    process, _ = start(endpoint)
            sender.flush()
    finally:
        process.kill()
        process.communicate()
    stored = (tmp_path / "events").read_bytes().split(b"\n")[:-1]
    assert set(stored) == set(EVENTS)
    assert sender.counts.acknowledged == len(EVENTS)


@pytest.mark.parametrize("endpoint", ["", "127.0.0.1:5571", "tcp://127.0.0.1"])
def test_an_endpoint_that_is_none_is_a_usage_error(
    context: zmq.Context[zmq.Socket[bytes]], endpoint: str
) -> None:
    """A typing mistake is answered with an example."""
    with pytest.raises(UsageError, match="give an endpoint such as"):
        ReliableSender(context, settings(endpoint), RING)


@pytest.mark.parametrize("change", [{"batch_events": 0}, {"batch_bytes": 1 << 20}, {"window_frames": 8192}])
def test_limits_that_could_not_be_kept_are_refused(change: dict[str, int]) -> None:
    """A batch that may outgrow a frame, or a window beyond the receiver's, is refused at once."""
    with pytest.raises(ValueError, match="batch_events"):
        settings("tcp://127.0.0.1:9", **change)


def test_every_run_is_another_sender() -> None:
    """Two runs at the same time have ids of their own."""
    first, second = new_origin("events", lambda: 7), new_origin("events", lambda: 7)
    assert first.sender != second.sender
    assert first.boot == second.boot == 7


class TurnedWatch:
    """Gives a ring once, when a test says so."""

    def __init__(self) -> None:
        self.next: KeyRing | None = None

    def changed(self) -> KeyRing | None:
        given, self.next = self.next, None
        return given


def test_what_waits_under_a_key_that_is_gone_is_sealed_anew(
    context: zmq.Context[zmq.Socket[bytes]], peer: Peer
) -> None:
    """Both ends drop a key while frames wait for an answer: they go out under the new one, each event acknowledged."""
    peer.answer = lambda _seq, _ack: []
    watch = TurnedWatch()
    limits = settings(peer.endpoint, batch_events=1, window_frames=16, give_up_after_s=20)
    with ReliableSender(context, limits, RING, watch=watch) as sender:  # type: ignore[arg-type]
        send_all(sender, EVENTS[:10])
        while len(peer.payloads) < 10:
            sender.poll()
        assert sender.counts.acknowledged == 0
        rotated = KeyRing(6, {6: bytes(32)}, frozenset({5}))
        peer.answer = lambda _, ack: [ack]
        peer.receiver.use(rotated)
        watch.next = rotated
        sender.flush()
        sender.send(b"another")
        sender.flush()
    assert peer.payloads == [*EVENTS[:10], *EVENTS[:10], b"another"], (
        "the real receiver knows the ten by content"
    )
    assert (sender.counts.events, sender.counts.acknowledged) == (11, 11)
    assert sender.counts.resent_frames >= 10
