"""Opening ZeroMQ sockets that listen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Mapping


def listen(
    context: zmq.Context[zmq.Socket[bytes]],
    kind: int,
    endpoint: str,
    options: Mapping[zmq.SocketOption, int | bytes],
) -> zmq.Socket[bytes]:
    """A socket of `kind` bound to `endpoint` (`tcp://HOST:PORT`, IPv6 in brackets, port `*` for a free one).

    Raises:
        AppiaError: it cannot be bound, for example because another process has the port.
    """
    socket = context.socket(kind)
    for option, value in options.items():
        socket.setsockopt(option, value)
    # An IPv4 address would be told as IPv6 if both were always on.
    socket.setsockopt(zmq.IPV6, int("[" in endpoint))
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise AppiaError(
            f"{endpoint} cannot be bound ({error.strerror}): stop the process that has it, or choose another."
        ) from None
    return socket
