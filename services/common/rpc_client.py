"""The asking end of `rpc`: one connection to one server."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import msgpack
import zmq
from zmq.utils.monitor import recv_monitor_message

from services.common.errors import AppiaError
from services.common.rpc import MAX_DEADLINE_MS, MAX_REPLY, Request, is_loopback, pack_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.access.curve import Secured

_UNKNOWN_HERE = zmq.EVENT_HANDSHAKE_FAILED_AUTH
_NO_HANDSHAKE = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_LOST = zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED | _UNKNOWN_HERE | _NO_HANDSHAKE
_MAX_PART = MAX_REPLY + 4096
_WAITING = 4
_AT_ONCE = 64
"""Answers that a server may have under way to one client, and that are read before it is seen who waits how long: a
server that talks without end fills no memory and holds nobody up."""
_RECONNECT_MS = 60_000
"""A connection that broke is made anew by the next request; libzmq's own trying ten times a second fills the logs of a
server that refuses the handshake."""


class RpcTimeout(AppiaError):  # noqa: N818 - it names what happened, as the caller sees it
    """No answer came in time."""


class RpcUnreachable(RpcTimeout):
    """Nobody listens there, or the connection broke before the answer came."""


class RpcNoHandshake(RpcUnreachable):
    """Somebody listens there and broke off the handshake: the keys do not fit, or it was just being stopped."""


class RpcRefused(AppiaError):  # noqa: N818 - as above
    """The server answered with a refusal; `code` is one of `rpc.CODES`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RpcClient:
    """One connection; for one thread at a time. It can be used on after any error."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, secured: Secured | None = None
    ) -> None:
        """Connect in the background; does not block.

        Raises:
            AppiaError: the endpoint is none, or not on loopback while the connection would be plain text.
        """
        if secured is None and not is_loopback(endpoint):  # other transports than TCP leave the machine too
            raise AppiaError(
                f"{endpoint} is no TCP endpoint of this machine, and nothing is sent there in plain text: give a key "
                "(`appia access new`) and the server's public key."
            )
        self.endpoint = endpoint
        self._secured = secured
        self._context = context
        self._ids = itertools.count(1)
        self._broken = False
        self._open()

    def _open(self) -> None:
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, "[" in self.endpoint)
        socket.setsockopt(zmq.MAXMSGSIZE, _MAX_PART)
        socket.setsockopt(zmq.RCVHWM, _WAITING)
        socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        if self._secured is not None:
            self._secured.apply(socket)
        self._events = socket.get_monitor_socket(_LOST)
        self.socket = socket
        try:
            socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise AppiaError(f"{self.endpoint!r} is no endpoint to connect to ({error.strerror}).") from None

    @property
    def sockets(self) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        """What becomes readable when `receive` has something to say."""
        return self.socket, self._events

    def call(self, op: str, args: Mapping[str, Any], timeout_s: float, on_behalf: str | None = None) -> Any:
        """Ask and block for the answer; as a gateway `on_behalf` of a key by its name.

        Raises:
            RpcTimeout: no answer within `timeout_s`.
            RpcUnreachable: nobody listens, or the connection broke.
            RpcRefused: the server refused.
        """
        until = time.monotonic() + timeout_s
        request_id = self.send(op, args, timeout_s, on_behalf)
        poller = zmq.Poller()
        for socket in self.sockets:
            poller.register(socket, zmq.POLLIN)
        while (left_s := until - time.monotonic()) > 0:
            poller.poll(int(left_s * 1000) + 1)
            for answer in self.receive(request_id):
                return answer
        raise RpcTimeout(f"{self.endpoint} did not answer {op!r} within {timeout_s:g} s.")

    def send(self, op: str, args: Mapping[str, Any], timeout_s: float, on_behalf: str | None = None) -> int:
        """Send a request that is of use for `timeout_s`; returns its id. Does not block."""
        # Where it broke while nobody asked, that says nothing about this request.
        if self._broken or self._events.poll(0):
            self.close()
            self._open()
            self._broken = False
        request_id = next(self._ids)
        deadline_ms = min(max(int(timeout_s * 1000), 1), MAX_DEADLINE_MS)
        self.socket.send(pack_request(Request(request_id, op, dict(args), deadline_ms, on_behalf)))
        return request_id

    def receive(self, request_id: int) -> list[Any]:
        """The answer to a request as a list of one, or an empty list while there is none. Does not block.

        Raises:
            RpcUnreachable: the connection broke; a new one is made by the next request.
            RpcRefused: the server refused the request, or the key (code "forbidden").
        """
        for _ in range(_AT_ONCE):
            if not self.socket.poll(0):
                break
            reply = _read(self.socket.recv())
            if reply.get("id") not in (request_id, None):
                continue  # the late answer to a request that was given up
            if reply.get("ok") is True:
                return [reply.get("result")]
            error = reply.get("error")
            if not isinstance(error, dict):
                raise RpcRefused("internal", f"{self.endpoint} gave an answer that is none.")
            raise RpcRefused(str(error.get("code")), str(error.get("message")))
        self._check_connection()
        return []

    def _check_connection(self) -> None:
        if not self._events.poll(0):
            return
        event = recv_monitor_message(self._events)["event"]
        self._broken = True
        if event & _UNKNOWN_HERE:
            key = "" if self._secured is None else f" {self._secured.own.public}"
            raise RpcRefused(
                "forbidden", f"{self.endpoint} does not know the key{key}; ask who keeps its access file."
            )
        if event & _NO_HANDSHAKE:
            raise RpcNoHandshake(f"{self.endpoint} {self._no_handshake()}")
        raise RpcUnreachable(f"{self.endpoint} cannot be reached; check that the service runs.")

    def _no_handshake(self) -> str:
        """Why no connection came about with somebody who listens, as far as can be told."""
        if self._secured is None:
            return "wants keys: give a key (`appia access new`) and the server's public key."
        return "does not take these keys: check that its public key is the one given, and that it has one."

    def close(self) -> None:
        """Close the connection; an answer that is under way is lost."""
        self.socket.disable_monitor()
        self._events.close(linger=0)
        self.socket.close(linger=0)


def _read(raw: bytes) -> dict[Any, Any]:
    try:
        reply = msgpack.unpackb(raw, strict_map_key=False)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException):
        return {}
    return reply if isinstance(reply, dict) else {}
