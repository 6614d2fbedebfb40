"""Version 1 senders, and what every sender of the feed offers.

Version 1 is delivery at most once: nothing is acknowledged, so nothing can be waited for. The reliable
sender is in `reliable.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import zmq

from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.wire.ring_watch import RingWatch
    from services.common.wire.v1 import V1Sealer

    Context = zmq.Context[zmq.Socket[bytes]]

SEND_TIMEOUT_S = 60.0
LINGER_MS = 5000


@dataclass(slots=True)
class SenderCounts:
    """What a sender has done so far.

    `acknowledged` is accepted + duplicates + refused; all four stay zero with version 1, and so does
    `resent_frames`. `refused_acks` counts answers that were forged or not readable.
    """

    events: int = 0
    frames: int = 0
    frame_bytes: int = 0
    resent_frames: int = 0
    acknowledged: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    refused_acks: int = 0


class Sender(Protocol):
    """Sends events one by one; not to be shared between threads."""

    counts: SenderCounts

    def send(self, payload: bytes) -> None:
        """Take one event; blocks while too much is under way.

        Raises:
            FrameRefused: the event is empty or too large for a frame; others can still be sent.
            AppiaError: the receiver has not taken anything for too long.
        """

    def flush(self) -> None:
        """Wait until everything sent so far is acknowledged, where the format knows acknowledgements.

        Raises:
            AppiaError: the receiver has not acknowledged anything for too long.
        """

    def close(self) -> None:
        """Close the socket, without waiting for acknowledgements; a second call does nothing."""


class _V1Sender:
    """One event a frame, sealed and handed to a socket that may hold it for a while."""

    def __init__(self, socket: zmq.Socket[bytes], sealer: V1Sealer, send_timeout_s: float) -> None:
        self.counts = SenderCounts()
        self.endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        """Where it is connected or bound, with the port that port 0 became."""
        self.watch: RingWatch | None = None
        """Says when the key ring changes; the primary key seals then."""
        self._socket = socket
        self._sealer = sealer
        self._send_timeout_s = send_timeout_s
        socket.setsockopt(zmq.SNDTIMEO, int(send_timeout_s * 1000))

    def send(self, payload: bytes) -> None:
        """Seal and send one event; blocks while the receiver's queue is full.

        Raises:
            FrameRefused: the event is empty or too large for a frame.
            AppiaError: nothing could be sent for `send_timeout_s`.
        """
        ring = self.watch.changed() if self.watch else None
        if ring is not None:
            self._sealer.use(ring.sealing_seed())
        frame = self._sealer.seal(payload)
        try:
            self._socket.send(frame)
        except zmq.Again as error:
            raise AppiaError(
                f"Nothing could be sent to {self.endpoint} for {self._send_timeout_s:g} s after "
                f"{self.counts.events} events: check that the receiver is running and listens there."
            ) from error
        self.counts.events += 1
        self.counts.frames += 1
        self.counts.frame_bytes += len(frame)

    def flush(self) -> None:
        """Do nothing: version 1 has no acknowledgements to wait for."""

    def close(self) -> None:
        """Close the socket; its context, when it is ended, waits up to 5 s for what is still queued."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class V1Push(_V1Sender):
    """Pushes version 1 frames to a PULL socket that listens at `endpoint`."""

    def __init__(
        self, context: Context, endpoint: str, sealer: V1Sealer, *, send_timeout_s: float = SEND_TIMEOUT_S
    ) -> None:
        """Connect; raise UsageError for an endpoint that is none."""
        # Only to a receiver that is there: frames queued for nobody would be lost at the end without a word.
        options = {zmq.IMMEDIATE: 1, zmq.LINGER: LINGER_MS}
        super().__init__(open_socket(context, zmq.PUSH, endpoint, options), sealer, send_timeout_s)


class V1Pub(_V1Sender):
    """Publishes version 1 frames to the SUB sockets that connect to `endpoint`.

    Unlike a sensor's socket this one waits for a slow subscriber instead of leaving frames out; who
    subscribes later does not get what was sent before.
    """

    def __init__(
        self, context: Context, endpoint: str, sealer: V1Sealer, *, send_timeout_s: float = SEND_TIMEOUT_S
    ) -> None:
        """Bind; raise UsageError for an endpoint that is none or is taken."""
        options = {zmq.XPUB_NODROP: 1, zmq.LINGER: LINGER_MS}
        super().__init__(open_socket(context, zmq.XPUB, endpoint, options), sealer, send_timeout_s)

    def wait_for_subscriber(self, timeout_s: float) -> None:
        """Block until somebody subscribes, at most `timeout_s` seconds; raise AppiaError after that."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            # A subscription is 0x01 and a prefix, its end is 0x00 and the prefix (ZMTP, XPUB).
            if self._socket.poll(int(left * 1000) + 1) and self._socket.recv()[:1] == b"\x01":
                return
        raise AppiaError(
            f"Nobody subscribed to {self.endpoint} within {timeout_s:g} s: check that the receiver is "
            f"running and connects there."
        )


def open_socket(
    context: Context, kind: int, endpoint: str, options: Mapping[zmq.SocketOption, int]
) -> zmq.Socket[bytes]:
    """Open a socket and connect it, or bind it if it publishes; raise UsageError where that is impossible."""
    socket = context.socket(kind)
    try:
        for option, value in options.items():
            socket.setsockopt(option, value)
        if kind == zmq.XPUB:
            socket.bind(endpoint)
        else:
            socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise UsageError(
            f"{endpoint!r} cannot be used ({error.strerror}): give an endpoint such as tcp://127.0.0.1:5571."
        ) from error
    return socket
