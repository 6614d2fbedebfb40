"""The receiver: the one thread that reads the sockets, makes events durable, and acknowledges them.

It takes what has arrived (up to `GROUP_FRAMES`), commits it with one sync a day, and only then answers. While the disk
is full, or the queue to the indices, it reads nothing: the senders wait.
"""

from __future__ import annotations

import errno
import queue
import shutil
import threading
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import zmq

from services.common.errors import AppiaError, UsageError
from services.common.events.parse import Refused, parse_event
from services.common.sockets import listen
from services.common.wire.body import decompress
from services.common.wire.refusals import INSIDE, FrameRefused, Reason
from services.common.wire.sessions import AuthenticFrameRefused, Opened, V2Receiver
from services.common.wire.v1_seen import Sighting
from services.ingester.alarms import Alarms
from services.ingester.key_use import KeyUse
from services.ingester.private_links import check_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from services.common.wire.v1 import SealedV1, V1Opener
    from services.common.wire.v1_counters import V1Counters
    from services.ingester.dead_letter import DeadLetter
    from services.ingester.intake import Intake, Verdict
    from services.ingester.queue import ByteQueue

GROUP_FRAMES = 256
GROUP_EVENTS = 1024
"""A group is committed at once when it has so many frames or events, so that memory stays bounded."""
WAITING_FRAMES = 256
"""Frames that ZeroMQ holds for one sender before it stops reading from it; a frame has at most 1 MiB."""
_POLL_MS = 50
_MAX_PART = 2 << 20
_SOCKET_OPTIONS = {zmq.RCVHWM: WAITING_FRAMES, zmq.MAXMSGSIZE: _MAX_PART}
_PAUSE_MS = 500
_CALL_LOOK_S = 0.2


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
class Room:
    """Whether the disk has room: intake pauses at `stop_percent` and goes on below."""

    folder: Path
    stop_percent: float

    def is_left(self) -> bool:
        """Look at the file system now."""
        usage = shutil.disk_usage(self.folder)
        return 100.0 * (usage.total - usage.free) / usage.total < self.stop_percent


@dataclass(frozen=True)
class ReceiverTools:
    """What the receiver works with."""

    frames: Frames
    intake: Intake
    dead_letter: DeadLetter
    indexing: ByteQueue
    room: Room
    report: Callable[[str, dict[str, Any]], None]
    v1_backfill: bool = False  # whether version 1 events may be older than a week
    follow_keys: Callable[[], None] = lambda: (
        None
    )  # takes up a key ring that has changed; called between groups


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
        self._v2 = listen(context, zmq.ROUTER, endpoints.v2, _SOCKET_OPTIONS)
        self._v1: list[zmq.Socket[bytes]] = []
        try:
            if endpoints.v1_pull:
                self._v1.append(listen(context, zmq.PULL, endpoints.v1_pull, _SOCKET_OPTIONS))
            if endpoints.v1_sub:
                self._v1.append(_subscribe(context, endpoints.v1_sub))
        except AppiaError:
            self._close_sockets(linger_ms=0)
            raise
        self.v2_endpoint = self._v2.getsockopt_string(zmq.LAST_ENDPOINT)
        self.v1_endpoint = self._v1[0].getsockopt_string(zmq.LAST_ENDPOINT) if endpoints.v1_pull else ""
        self._batches: queue.Queue[Batch] = queue.Queue(4)
        self._calls: queue.Queue[Callable[[], None]] = queue.Queue()
        self._stop = threading.Event()
        self._ended = threading.Event()
        self.frames: Counter[str] = Counter()
        self._keys_used = KeyUse()
        self.paused = False

    def submit(self, batch: Batch) -> None:
        """Hand in events from a file; blocks while others wait."""
        self._batches.put(batch)

    def call(self, work: Callable[[], Any]) -> Any:
        """Run `work` in the receiver's thread between two groups, and give what it returns. Blocks until then.

        Raises:
            AppiaError: `work` raised it, or the receiver has ended.
        """
        done = threading.Event()
        result: list[Any] = []
        failure: list[BaseException] = []

        def run() -> None:
            try:
                result.append(work())
            except AppiaError as error:
                failure.append(error)
            finally:
                done.set()

        self._calls.put(run)
        while not done.wait(_CALL_LOOK_S):
            if self._ended.is_set():
                raise AppiaError("The intake has ended.")
        if failure:
            raise failure[0]
        if not result:
            raise AppiaError("The intake has ended.")
        return result[0]

    def counts(self) -> dict[str, Any]:
        """What came in since the start, as plain values. For any thread; not all from the same moment."""
        tools = self._tools
        return {
            "frames": dict(self.frames),
            "accepted": tools.intake.accepted,
            "duplicates": tools.intake.duplicates,
            "refused": dict(tools.dead_letter.counts),
            "dead_letter_not_kept": tools.dead_letter.not_kept,
            "paused": self.paused,
            "keys": self._keys_used.as_dict(),
            "v1_nodes": {node: asdict(counts) for node, counts in tools.frames.v1_counters.counts().items()},
        }

    def stop(self) -> None:
        """Ask `run` to end after what it is doing."""
        self._stop.set()

    def run(self) -> None:
        """Receive until stopped. An error of the disk ends it: what was not synced is not acknowledged either."""
        poller = zmq.Poller()
        for socket in (self._v2, *self._v1):
            poller.register(socket, zmq.POLLIN)
        try:
            while not self._stop.is_set():
                self._run_calls()
                self._tools.follow_keys()
                if self._pause():
                    self._stop.wait(_PAUSE_MS / 1000)
                    continue
                poller.poll(_POLL_MS if self._batches.empty() else 0)
                self._group()
        finally:
            self._ended.set()
            self._run_calls()
            self._close_sockets(linger_ms=1000)
            self._tools.frames.v1_counters.close()
            self._tools.intake.close()

    def _close_sockets(self, linger_ms: int) -> None:
        for socket in (self._v2, *self._v1):
            socket.close(linger=linger_ms)

    def _pause(self) -> bool:
        paused = not self._tools.room.is_left()
        if paused != self.paused:
            self._tools.report(
                "intake_paused" if paused else "intake_resumed",
                {"limit_percent": self._tools.room.stop_percent},
            )
            self.paused = paused
        return paused

    def _run_calls(self) -> None:
        while True:
            try:
                self._calls.get_nowait()()
            except queue.Empty:
                return

    def _group(self) -> None:
        """Take what is there, make it durable, answer."""
        answers: list[tuple[bytes, Opened, Verdict | AuthenticFrameRefused]] = []
        finished: list[Batch] = []
        try:
            answers += self._take_v2()
            self._take_v1()
            finished += self._take_batches()
            logged = self._tools.intake.commit()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # A full disk is no broken one: nothing of this group is acknowledged, the senders try again.
            for _, opened, _ in answers:
                self._tools.frames.v2.abandon(opened)
            raise AppiaError(
                f"The disk is full ({error}): free some space, then start the ingester again."
            ) from error
        for identity, opened, result in answers:
            self._v2.send_multipart([identity, self._acknowledge(opened, result)], copy=False)
        for batch in finished:
            batch.done()
        for item in logged:
            self._tools.indexing.put(item, item.size)

    def _acknowledge(self, opened: Opened, result: Verdict | AuthenticFrameRefused) -> bytes:
        receiver = self._tools.frames.v2
        if isinstance(result, AuthenticFrameRefused):
            return receiver.acknowledge(opened, 0, 0, {result.reason: 1})
        return receiver.acknowledge(opened, result.accepted, result.duplicates, result.refused)

    def _take_v2(self) -> Iterator[tuple[bytes, Opened, Verdict | AuthenticFrameRefused]]:
        events = 0
        for identity, *parts in _drain(self._v2):
            frame = parts[-1] if parts else b""
            self.frames["v2"] += 1
            try:
                opened = self._tools.frames.v2.open(frame)
            except AuthenticFrameRefused as refused:
                self._tools.dead_letter.keep(refused.reason, refused.detail, "v2", frame)
                yield identity, refused.opened, refused
            except FrameRefused as refused:
                self._refuse(refused, "v2", frame)
            else:
                if isinstance(opened, Opened):
                    self._keys_used.note(opened.key_id)
                    yield identity, opened, self._take_events(opened)
                    events += len(opened.payloads)
                elif opened.ack is not None:
                    self._v2.send_multipart([identity, opened.ack])
            if events >= GROUP_EVENTS:
                return

    def _take_events(self, opened: Opened) -> Verdict:
        origin = f"v2 sender {opened.sender:#018x}"
        return self._tools.intake.add(opened.payloads, backfill=opened.backfill, origin=origin)

    def _take_v1(self) -> None:
        for socket in self._v1:
            for frame, peer in _drain_with_peers(socket):
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
        backfill = self._tools.v1_backfill
        self._tools.intake.add([payload], backfill=backfill, origin=f"v1 node {node}")

    def _note_v1(self, node: str, sealed: SealedV1) -> None:
        """Count an authentic frame; raises FrameRefused for one that was seen before."""
        sighting = self._tools.frames.v1_counters.note(node, sealed)
        if sighting is Sighting.REPLAY:
            raise FrameRefused(Reason.REPLAY, f"the frame {sealed.counter} of node {node!r} was seen before")
        if sighting is Sighting.NONCE_REUSED:
            self._alarms.tell("nonce_reused", node, {"node": node, "counter": sealed.counter})

    def _take_batches(self) -> Iterator[Batch]:
        while True:
            try:
                batch = self._batches.get_nowait()
            except queue.Empty:
                return
            for reason, detail, data in batch.refusals:
                self._tools.dead_letter.keep(reason, detail, batch.origin, data)
            self._tools.intake.add(batch.payloads, backfill=True, origin=batch.origin)
            yield batch

    def _refuse(self, refused: FrameRefused, origin: str, frame: bytes) -> None:
        self.frames["refused"] += 1
        self._alarms.tell("frame_refused", refused.reason, {"reason": refused.reason, "why": refused.detail})
        keep = self._tools.dead_letter.keep if refused.reason in INSIDE else self._tools.dead_letter.sample
        keep(refused.reason, refused.detail, origin, frame)


def _drain(socket: zmq.Socket[bytes]) -> Iterator[list[bytes]]:
    """Messages that have arrived, at most a group of them."""
    for _ in range(GROUP_FRAMES):
        try:
            yield socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return


def _drain_with_peers(socket: zmq.Socket[bytes]) -> Iterator[tuple[bytes, str]]:
    """Last parts of messages that have arrived, at most a group of them, and the address each came from."""
    for _ in range(GROUP_FRAMES):
        try:
            part = socket.recv_multipart(zmq.NOBLOCK, copy=False)[-1]
        except zmq.Again:
            return
        try:
            peer = str(part.get("Peer-Address"))
        except zmq.ZMQError:
            peer = ""  # not every transport knows
        yield part.bytes, peer


def node_of(payload: bytes) -> str:
    """The sensor that an event names; empty where it is none, which the intake finds out and says why."""
    try:
        return parse_event(payload).originating_node_id
    except Refused:
        return ""


def _subscribe(context: zmq.Context[zmq.Socket[bytes]], endpoints: Sequence[str]) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.SUB)
    for option, value in _SOCKET_OPTIONS.items():
        socket.setsockopt(option, value)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    for endpoint in endpoints:
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            socket.close(linger=0)
            raise UsageError(
                f"{endpoint!r} is no endpoint to connect to ({error.strerror}): write tcp://HOST:PORT."
            ) from None
    return socket
