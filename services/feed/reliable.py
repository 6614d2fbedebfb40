"""The reliable sender (wire format, version 2): what is not acknowledged is kept and sent again."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import zmq

from services.common.errors import AppiaError
from services.common.wire.acks import Ack, read_ack
from services.common.wire.body import MAX_FRAME_BYTES
from services.common.wire.refusals import FrameRefused, Reason
from services.common.wire.v2 import Direction, DirectionKeys, Origin, V2Sealer, authenticate, read_header
from services.feed.sender import SenderCounts, open_socket

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.wire.keys import KeyRing
    from services.common.wire.ring_watch import RingWatch
    from services.feed.sender import Context

NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class ReliableSettings:
    """Who sends where, and the limits; times in seconds.

    `window_frames` stays below the receiver's replay window of 8192, because a frame that is sent again
    must not have fallen out of it; the limits of a batch leave it below 1 MiB even if nothing compresses.
    """

    endpoint: str
    origin: Origin
    backfill: bool = False
    decisions: bool = False  # each payload is a `DetectionBatch` of a firewall, and no event
    batch_events: int = 256
    batch_bytes: int = 512 * 1024
    batch_wait_s: float = 0.2
    window_frames: int = 64
    window_bytes: int = 16 * 1024 * 1024
    resend_after_s: float = 1.0
    resend_at_most_s: float = 8.0
    tell_after_s: float = 10.0
    give_up_after_s: float = 60.0

    def __post_init__(self) -> None:
        limits = ((self.batch_events, 8192), (self.batch_bytes, 900_000), (self.window_frames, 4096))
        if not all(1 <= value <= most for value, most in limits):
            raise ValueError(
                "batch_events <= 8192, batch_bytes <= 900000, window_frames <= 4096; none below 1"
            )


@dataclass(slots=True)
class _Pending:
    frame: bytes
    events: int
    sent_at: float = NEVER

    @property
    def key_id(self) -> int:
        """The key that it is sealed with."""
        return read_header(self.frame).key_id


def new_origin(channel: str, now_ns: Callable[[], int] = time.time_ns) -> Origin:
    """Make the origin of one run: a random sender id, and the time in ns as its boot number."""
    return Origin(channel, int.from_bytes(os.urandom(8), "little"), now_ns())


class ReliableSender:
    """Batches events, sends them from a DEALER socket, and sends again what is not acknowledged in time.

    It outlives a receiver that is killed and started again: while nobody listens, frames wait in the
    window, and `send` blocks once the window is full. Not to be shared between threads.

    Attributes:
        counts: What was sent, and what became of it.
        on_silence: Takes a sentence when no acknowledgement came for `tell_after_s`, once until the next one comes.
    """

    def __init__(
        self,
        context: Context,
        settings: ReliableSettings,
        ring: KeyRing,
        on_ack: Callable[[Ack], None] = lambda _: None,
        watch: RingWatch | None = None,
    ) -> None:
        """Connect; `on_ack` is called once for each acknowledged frame, `watch` says when the ring changes.

        Raises:
            UsageError: the endpoint or the channel is none.
        """
        self.counts = SenderCounts()
        self.on_silence: Callable[[str], None] = lambda _: None
        self._settings = settings
        self._sealer = V2Sealer(ring, settings.origin)
        self._ack_keys = DirectionKeys(ring, settings.origin.channel, Direction.ACK)
        self._on_ack = on_ack
        self._watch = watch
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._batch_since = 0.0
        self._pending: OrderedDict[int, _Pending] = OrderedDict()
        self._pending_bytes = 0
        self._next_seq = 0
        self._patience_s = settings.resend_after_s
        self._progress_at = 0.0
        self._silence_told = False
        self._socket = _connect(context, settings)

    def send(self, payload: bytes) -> None:
        """Put an event into the batch, and ship the batch when it is full or `batch_wait_s` old.

        Blocks while the window is full.

        Raises:
            FrameRefused: the event is empty or too large for a frame; others can still be sent.
            AppiaError: no acknowledgement came for `give_up_after_s`.
        """
        settings = self._settings
        if self._batch and self._batch_bytes + len(payload) > settings.batch_bytes:
            self._ship()
        if not payload or len(payload) > settings.batch_bytes:
            self._ship()
            self._put([payload])
            return
        now = time.monotonic()
        if not self._batch:
            self._batch_since = now
        self._batch.append(payload)
        self._batch_bytes += len(payload)
        full = len(self._batch) >= settings.batch_events or self._batch_bytes >= settings.batch_bytes
        if full or now - self._batch_since >= settings.batch_wait_s:
            self._ship()

    def poll(self) -> None:
        """Take in acknowledgements, send again what is due, ship a batch that waited; for idle times.

        Raises:
            AppiaError: no acknowledgement came for `give_up_after_s`.
        """
        if self._batch and time.monotonic() - self._batch_since >= self._settings.batch_wait_s:
            self._ship()
        self._work(0.0)

    def flush(self) -> None:
        """Ship the batch and block until every frame is acknowledged.

        Raises:
            AppiaError: no acknowledgement came for `give_up_after_s`.
        """
        self._ship()
        while self._pending:
            self._work(self._wait_s())

    def close(self) -> None:
        """Close the socket; what is not acknowledged, or still in the batch, is given up: flush before."""
        self._socket.close(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ship(self) -> None:
        if self._batch:
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            self._put(batch)

    def _put(self, payloads: list[bytes]) -> None:
        while not self._has_room():
            self._work(self._wait_s())
        if not self._pending:
            self._progress_at = time.monotonic()
        size = self._seal(payloads)
        self.counts.events += len(payloads)
        self.counts.frames += 1
        self.counts.frame_bytes += size
        self._work(0.0)

    def _seal(self, payloads: list[bytes]) -> int:
        settings = self._settings
        seq, frame = self._sealer.seal(payloads, backfill=settings.backfill, decisions=settings.decisions)
        self._next_seq = seq + 1
        self._pending[seq] = _Pending(frame, len(payloads))
        self._pending_bytes += len(frame)
        return len(frame)

    def _follow_keys(self) -> None:
        """Seal with the primary key of a ring that has changed; what waits under a key that is gone is sealed anew.

        It gets a new `seq` too. Should the receiver have stored it before, it knows the events by their content.
        """
        ring = self._watch.changed() if self._watch else None
        if ring is None:
            return
        gone = [seq for seq, pending in self._pending.items() if pending.key_id not in ring.opening_ids()]
        lost = [self._pending.pop(seq) for seq in gone]
        payloads = [self._sealer.reopen(pending.frame) for pending in lost]
        self._pending_bytes -= sum(len(pending.frame) for pending in lost)
        self._sealer.use(ring)
        self._ack_keys.use(ring)
        for batch in payloads:
            self._seal(batch)
        self.counts.resent_frames += len(lost)

    def _wait_s(self) -> float:
        settings = self._settings
        if self._silence_told:
            return min(self._patience_s, settings.give_up_after_s)
        left_s = settings.tell_after_s - (time.monotonic() - self._progress_at)
        return min(self._patience_s, settings.give_up_after_s, max(left_s, 0.01))

    def _has_room(self) -> bool:
        if not self._pending:
            return True
        # The span counts, not the number: the oldest frame must stay inside the receiver's replay window.
        within = self._next_seq - next(iter(self._pending)) < self._settings.window_frames
        return within and self._pending_bytes < self._settings.window_bytes

    def _work(self, wait_s: float) -> None:
        """Send what is due, wait up to `wait_s` for acknowledgements (or for room to send) and take them."""
        self._follow_keys()
        blocked = self._send_due()
        if wait_s > 0:
            self._socket.poll(int(wait_s * 1000), zmq.POLLIN | (zmq.POLLOUT if blocked else 0))
        self._take_acks()
        idle_s = time.monotonic() - self._progress_at
        if self._pending and idle_s > self._settings.give_up_after_s:
            raise AppiaError(self._given_up())
        if self._pending and idle_s >= self._settings.tell_after_s and not self._silence_told:
            self._silence_told = True
            self.on_silence(self._silent())

    def _send_due(self) -> bool:
        """Send frames that are new or overdue, in order; say whether the socket refused one."""
        now = time.monotonic()
        resent = 0
        blocked = False
        for pending in self._pending.values():
            if now - pending.sent_at < self._patience_s:
                continue
            try:
                self._socket.send(pending.frame, zmq.DONTWAIT)
            except zmq.Again:
                blocked = True
                break
            resent += pending.sent_at != NEVER
            pending.sent_at = now
        if resent:
            self.counts.resent_frames += resent
            self._patience_s = min(2 * self._patience_s, self._settings.resend_at_most_s)
        return blocked

    def _take_acks(self) -> None:
        while True:
            try:
                parts = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            try:
                ack = self._read_ack(parts)
            except FrameRefused:
                self.counts.refused_acks += 1
                continue
            self._take_ack(ack)

    def _read_ack(self, parts: list[bytes]) -> Ack:
        if len(parts) != 1:
            raise FrameRefused(Reason.BAD_ACK, f"a message of {len(parts)} parts, a frame is one")
        header, plain = authenticate(parts[0], self._ack_keys)
        origin = self._settings.origin
        if (header.sender, header.boot) != (origin.sender, origin.boot):
            raise FrameRefused(Reason.BAD_ACK, f"for sender {header.sender:#018x}, which is another")
        return read_ack(plain)

    def _take_ack(self, ack: Ack) -> None:
        pending = self._pending.pop(ack.seq, None)
        if pending is None:
            return
        self._pending_bytes -= len(pending.frame)
        self._progress_at = time.monotonic()
        self._silence_told = False
        self._patience_s = self._settings.resend_after_s
        refused = sum(ack.refused.values())
        self.counts.acknowledged += ack.accepted + ack.duplicates + refused
        self.counts.accepted += ack.accepted
        self.counts.duplicates += ack.duplicates
        self.counts.refused += refused
        self._on_ack(ack)

    def _silent(self) -> str:
        settings = self._settings
        return (
            f"{settings.endpoint} has acknowledged nothing for {settings.tell_after_s:g} s, and is tried until it is "
            f"{settings.give_up_after_s:g} s: {self._advice()}"
        )

    def _given_up(self) -> str:
        events = sum(pending.events for pending in self._pending.values())
        return (
            f"{events} events in {len(self._pending)} frames were not acknowledged by "
            f"{self._settings.endpoint} for {self._settings.give_up_after_s:g} s: {self._advice()}, then send them "
            f"again (events that were stored are recognised)."
        )

    def _advice(self) -> str:
        if any(pending.sent_at != NEVER for pending in self._pending.values()):
            return (
                f"check that the receiver knows key {self._sealer.key_id} and has not revoked it (`appia keys list`), "
                f"has the same channel, and room on its disk"
            )
        return "nobody answers there: check that the receiver is running and listens there"


def _connect(context: Context, settings: ReliableSettings) -> zmq.Socket[bytes]:
    options = {
        # Frames wait in the window, where they are counted, and never in the queue of a dead connection.
        zmq.IMMEDIATE: 1,
        zmq.SNDHWM: settings.window_frames,
        zmq.LINGER: 0,
        zmq.MAXMSGSIZE: MAX_FRAME_BYTES,
        zmq.RECONNECT_IVL: 100,
        zmq.RECONNECT_IVL_MAX: 2000,
        # A receiver whose machine lost power closes no connection.
        zmq.HEARTBEAT_IVL: 5000,
        zmq.HEARTBEAT_TIMEOUT: 15000,
    }
    return open_socket(context, zmq.DEALER, settings.endpoint, options)
