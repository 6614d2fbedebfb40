"""Sockets that senders reach, and messages that have arrived at them, a group at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq

from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GROUP_FRAMES = 256
WAITING_FRAMES = 256
"""Frames that ZeroMQ holds for one sender before it stops reading from it; a frame has at most 1 MiB."""
_MAX_PART = 2 << 20
SOCKET_OPTIONS = {zmq.RCVHWM: WAITING_FRAMES, zmq.MAXMSGSIZE: _MAX_PART}


def drain(socket: zmq.Socket[bytes]) -> Iterator[list[bytes]]:
    """Messages that have arrived, at most a group of them."""
    for _ in range(GROUP_FRAMES):
        try:
            yield socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return


def drain_with_peers(socket: zmq.Socket[bytes]) -> Iterator[tuple[bytes, str]]:
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


def subscribe(context: zmq.Context[zmq.Socket[bytes]], endpoints: Sequence[str]) -> zmq.Socket[bytes]:
    """A socket that is connected to publishers and subscribed to all they publish.

    Raises:
        UsageError: an endpoint is none.
    """
    socket = context.socket(zmq.SUB)
    for option, value in SOCKET_OPTIONS.items():
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
