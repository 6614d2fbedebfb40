"""The receiver: the one thread that reads the sockets, makes events durable, and acknowledges them.

It takes what has arrived (up to `GROUP_FRAMES`), commits it with one sync a day, and only then answers. While the disk
is full, or the queue to the indices, it reads nothing: the senders wait. A disk that is full below the limit (another
process fills it, a quota) is met at a write: what was written of that is cut off, its sender gets no answer and sends
it again, and the intake goes on by itself. A sync that fails ends the process.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import zmq

from services.common.durable import is_full
from services.common.errors import AppiaError
from services.common.events.parse import node_of
from services.common.sockets import listen
from services.common.wire.body import decompress
from services.common.wire.refusals import INSIDE, FrameRefused, Reason
from services.common.wire.sessions import AuthenticFrameRefused, Opened, V2Receiver
from services.common.wire.v1_seen import Sighting
from services.ingester.alarms import Alarms
from services.ingester.calls import Calls
from services.ingester.draining import SOCKET_OPTIONS, drain, drain_with_peers, subscribe
from services.ingester.key_use import KeyUse
from services.ingester.private_links import check_private
from services.ingester.room import Gauge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from services.common.wire.v1 import SealedV1, V1Opener
    from services.common.wire.v1_counters import V1Counters
    from services.ingester.dead_letter import DeadLetter
    from services.ingester.firewalls import Firewalls
    from services.ingester.intake import Intake, Verdict
    from services.ingester.queue import ByteQueue
    from services.ingester.room import Room

GROUP_EVENTS = 1024
"""A group is committed at once when it has so many events, or 256 frames a socket, so that memory stays bounded."""
_POLL_MS = 50
_PAUSE_MS = 500


@dataclass(frozen=True)
class Batch:
    """Events that did not come by a socket; `done` is called once they are durable."""

    payloads: Sequence[bytes]
    origin: str
    done: Callable[[], None]
    refusals: Sequence[tuple[str, str, bytes]] = ()  # reason, detail, bytes of what could not be read


@dataclass(frozen=True)
class Endpoints:
    """Where to listen and to connect; empty for nowhere."""

    v2: str
    v1_pull: str
    v1_sub: Sequence[str]
    allow_public_v1: bool


@dataclass(frozen=True)
class Frames:
    """What opens frames, and follows the counters of version 1."""

    v2: V2Receiver
    v1: V1Opener
    v1_counters: V1Counters


@dataclass(frozen=True)
class ReceiverTools:
    """What the receiver works with."""

    frames: Frames
    intake: Intake
    dead_letter: DeadLetter
    indexing: ByteQueue
    room: Room
    report: Callable[[str, dict[str, Any]], None]
    firewalls: Firewalls
    v1_backfill: bool = False  # whether version 1 events may be older than a week
    follow_keys: Callable[[], None] = lambda: (
        None
    )  # takes up a key ring that has changed; called between groups
    beat: Callable[[], None] = lambda: None  # called as the thread goes round


class Receiver:
    """Owns the intake and its sockets. `run` is the body of its thread; `submit` and `call` are for others."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoints: Endpoints, tools: ReceiverTools
    ) -> None:
        """Bind and connect; nothing is read before `run`.

        Raises:
            UsageError: an endpoint is none, or version 1 would listen to the world.
            AppiaError: an endpoint cannot be bound.
        """
        self._tools = tools
        self._alarms = Alarms(tools.report)
        places = (endpoints.v1_pull, *endpoints.v1_sub)
        check_private(places, tools.report, allow_public=endpoints.allow_public_v1)
        self._v2 = listen(context, zmq.ROUTER, endpoints.v2, SOCKET_OPTIONS)
        self._v1: list[zmq.Socket[bytes]] = []
        try:
            if endpoints.v1_pull:
                self._v1.append(listen(context, zmq.PULL, endpoints.v1_pull, SOCKET_OPTIONS))
            if endpoints.v1_sub:
                self._v1.append(subscribe(context, endpoints.v1_sub))
        except AppiaError:
            self._close_sockets(linger_ms=0)
            raise
        self.v2_endpoint = self._v2.getsockopt_string(zmq.LAST_ENDPOINT)
        self.v1_endpoint = self._v1[0].getsockopt_string(zmq.LAST_ENDPOINT) if endpoints.v1_pull else ""
        self.firewall_endpoint = tools.firewalls.endpoint
        self._batches: queue.Queue[Batch] = queue.Queue(4)
        self._calls = Calls()
        self._stop = threading.Event()
        self.frames: Counter[str] = Counter()
        self._keys_used = KeyUse()
        self._finished: list[Batch] = []
        self._held: Callable[[], object] | None = (
            None  # what nobody sends again, and did not go on the disk yet
        )
        self.gauge = Gauge(tools.room, tools.report)

    def submit(self, batch: Batch) -> None:
        """Hand in events from a file; blocks while others wait."""
        self._batches.put(batch)

    def call(self, work: Callable[[], Any]) -> Any:
        """Run `work` in the receiver's thread between two groups, and give what it returns. Blocks until then.

        Raises:
            AppiaError: `work` raised it, the disk is full, or the receiver has ended.
        """
        return self._calls.call(work)

    def counts(self) -> dict[str, Any]:
        """What came in since the start, as plain values. For any thread; not all from the same moment."""
        tools = self._tools
        return {
            "frames": dict(self.frames),
            "accepted": tools.intake.accepted,
            "duplicates": tools.intake.duplicates,
            "refused": dict(tools.dead_letter.counts),
            "dead_letter_not_kept": tools.dead_letter.not_kept,
            "decisions": tools.firewalls.desk.counts(),
            **self.gauge.as_dict(),
            "keys": self._keys_used.as_dict(),
            "sensors": tools.intake.sensors.as_dict(),
            "v1_nodes": {node: asdict(counts) for node, counts in tools.frames.v1_counters.counts().items()},
        }

    def stop(self) -> None:
        """Ask `run` to end after what it is doing."""
        self._stop.set()

    def run(self) -> None:
        """Receive until stopped. An error of the disk ends it: what was not synced is not acknowledged either."""
        poller = zmq.Poller()
        for socket in (self._v2, *self._v1, *self._tools.firewalls.sockets):
            poller.register(socket, zmq.POLLIN)
        try:
            while not self._stop.is_set():
                self._tools.beat()
                self._calls.do_all()
                self._tools.follow_keys()
                if self.gauge.is_shut():
                    self._stop.wait(_PAUSE_MS / 1000)
                    continue
                poller.poll(_POLL_MS if self._batches.empty() else 0)
                self._group()
        finally:
            self._calls.end()
            with suppress(OSError):
                self._take_held()
            self._close_sockets(linger_ms=1000)
            self._tools.frames.v1_counters.close()
            self._tools.intake.close()
            self._tools.firewalls.close(linger_ms=1000)

    def _close_sockets(self, linger_ms: int) -> None:
        for socket in (self._v2, *self._v1):
            socket.close(linger=linger_ms)

    def _group(self) -> None:
        """Take what is there, make it durable, answer."""
        answers: list[tuple[bytes, Opened, Verdict | AuthenticFrameRefused]] = []
        full = False
        try:
            self._take_held()
            for answer in self._take_v2():
                answers.append(answer)  # noqa: PERF402 - what came before a full disk is answered
            self._take_v1()
            self._take_firewalls()
            self._take_batches()
        except OSError as error:
            if not is_full(error):
                raise
            full = True
        logged = self._tools.intake.commit()
        self._tools.firewalls.desk.commit()
        for identity, opened, result in answers:
            full |= not self._answer(identity, opened, result)
        for batch in self._finished:
            batch.done()
        if full:
            self.gauge.found_full()
        elif answers or self._finished or logged:
            self.gauge.has_written()
        self._finished.clear()
        for item in logged:
            self._tools.indexing.put(item, item.size, self._tools.beat)

    def _answer(self, identity: bytes, opened: Opened, result: Verdict | AuthenticFrameRefused) -> bool:
        """Acknowledge a frame that is on disk. False where the disk is too full to keep the boot of a new sender.

        It sends the frame again then, and its events are known.
        """
        try:
            ack = self._acknowledge(opened, result)
        except AppiaError as error:
            if not is_full(error.__cause__):
                raise
            self._tools.frames.v2.abandon(opened)
            return False
        self._v2.send_multipart([identity, ack], copy=False)
        return True

    def _acknowledge(self, opened: Opened, result: Verdict | AuthenticFrameRefused) -> bytes:
        receiver = self._tools.frames.v2
        if isinstance(result, AuthenticFrameRefused):
            return receiver.acknowledge(opened, 0, 0, {result.reason: 1})
        return receiver.acknowledge(opened, result.accepted, result.duplicates, result.refused)

    def _take_v2(self) -> Iterator[tuple[bytes, Opened, Verdict | AuthenticFrameRefused]]:
        events = 0
        for identity, *parts in drain(self._v2):
            frame = parts[-1] if parts else b""
            self.frames["v2"] += 1
            try:
                opened = self._tools.frames.v2.open(frame)
            except AuthenticFrameRefused as refused:
                with self._given_up_if_it_fails(refused.opened):
                    self._tools.dead_letter.keep(refused.reason, refused.detail, "v2", frame)
                yield identity, refused.opened, refused
            except FrameRefused as refused:
                self._refuse(refused, "v2", frame)
            else:
                if isinstance(opened, Opened):
                    self._keys_used.note(opened.key_id)
                    with self._given_up_if_it_fails(opened):
                        verdict = self._take_events(opened)
                    yield identity, opened, verdict
                    events += len(opened.payloads)
                elif opened.ack is not None:
                    self._v2.send_multipart([identity, opened.ack])
            if events >= GROUP_EVENTS:
                return

    @contextmanager
    def _given_up_if_it_fails(self, opened: Opened) -> Iterator[None]:
        """A frame that could not be stored is new when it is sent again."""
        try:
            yield
        except OSError:
            self._tools.frames.v2.abandon(opened)
            raise

    def _hold(self, work: Callable[[], object]) -> None:
        """Store what nobody sends again: while the disk is full it is held, and is the first thing after that."""
        self._held = work
        work()
        self._held = None

    def _take_held(self) -> None:
        if self._held is not None:
            self._hold(self._held)

    def _take_events(self, opened: Opened) -> Verdict:
        origin = f"v2 sender {opened.sender:#018x}"
        if opened.decisions:
            return self._tools.firewalls.desk.add(opened.payloads, origin)
        return self._tools.intake.add(opened.payloads, backfill=opened.backfill, origin=origin)

    def _take_v1(self) -> None:
        for socket in self._v1:
            for frame, peer in drain_with_peers(socket):
                self.frames["v1"] += 1
                try:
                    self._take_v1_frame(frame, peer)
                except FrameRefused as refused:
                    self._refuse(refused, "v1", frame)

    def _take_v1_frame(self, frame: bytes, peer: str) -> None:
        opener = self._tools.frames.v1
        sealed, plain = opener.authenticate(frame, peer)
        try:
            payload = decompress(plain)
            node = node_of(payload)
            if node:
                opener.check_node(sealed, node)
        except FrameRefused:
            # Counted like any other, so that who plays it again does not fill the dead letter.
            self._note_v1("", sealed)
            raise
        self._note_v1(node, sealed)
        backfill, origin = self._tools.v1_backfill, f"v1 node {node}"
        self._hold(partial(self._tools.intake.add, [payload], backfill=backfill, origin=origin))

    def _take_firewalls(self) -> None:
        firewalls = self._tools.firewalls
        for frame, peer in firewalls.arrived():
            self.frames["firewall"] += 1
            try:
                payload, origin = firewalls.open(frame, peer, self._note_v1)
            except FrameRefused as refused:
                self._refuse(refused, "firewall", frame)
            else:
                self._hold(partial(firewalls.desk.add, [payload], origin))

    def _note_v1(self, node: str, sealed: SealedV1) -> None:
        """Count an authentic frame; raises FrameRefused for one that was seen before."""
        sighting = self._tools.frames.v1_counters.note(node, sealed)
        if sighting is Sighting.REPLAY:
            raise FrameRefused(Reason.REPLAY, f"the frame {sealed.counter} of node {node!r} was seen before")
        if sighting is Sighting.NONCE_REUSED:
            self._alarms.tell("nonce_reused", node, {"node": node, "counter": sealed.counter})

    def _take_batches(self) -> None:
        with suppress(queue.Empty):
            while True:
                batch = self._batches.get_nowait()
                self._hold(partial(self._take_batch, batch))

    def _take_batch(self, batch: Batch) -> None:
        self._tools.intake.add(batch.payloads, backfill=True, origin=batch.origin)
        for reason, detail, data in batch.refusals:
            self._tools.dead_letter.keep(reason, detail, batch.origin, data)
        self._finished.append(batch)

    def _refuse(self, refused: FrameRefused, origin: str, frame: bytes) -> None:
        self.frames["refused"] += 1
        self._alarms.tell("frame_refused", refused.reason, {"reason": refused.reason, "why": refused.detail})
        keep = self._tools.dead_letter.keep if refused.reason in INSIDE else self._tools.dead_letter.sample
        self._hold(partial(keep, refused.reason, refused.detail, origin, frame))
