"""Lets only known keys connect to a socket: CURVE with ZAP (https://rfc.zeromq.org/spec/27/).

Without a ZAP handler libzmq lets any key in, even where a domain is set; ZAP_ENFORCE_DOMAIN makes it refuse all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from services.common.access.curve import HANDSHAKE_MS
from services.common.access.refusals import Refused
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.common.access.book import AccessBook
    from services.common.access.curve import KeyPair
    from services.common.access.refusals import Refusals

DOMAIN = "appia.query"
ZAP_ENDPOINT = "inproc://zeromq.zap.01"

_VERSION, _CURVE = b"1.0", b"CURVE"
_OK, _REFUSED = (b"200", b"OK"), (b"400", b"This key is not known here")
_FIELDS, _KEY_BYTES = 7, 32
_FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL


class Door:
    """The ZAP handler of one server socket and its context. For the thread that owns the socket."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], own: KeyPair, book: AccessBook, refusals: Refusals
    ) -> None:
        """Take the place of the context's ZAP handler; nobody is let in before `attend` is called.

        Raises:
            AppiaError: the context has one already.
        """
        self._own = own
        self._book = book
        self._refusals = refusals
        self._monitor: zmq.Socket[bytes] | None = None
        self._zap = context.socket(zmq.REP)
        try:
            self._zap.bind(ZAP_ENDPOINT)
        except zmq.ZMQError:
            self._zap.close(linger=0)
            raise AppiaError(
                "Only one server of a process can have keys; give each a context of its own."
            ) from None

    @property
    def options(self) -> Mapping[zmq.SocketOption, int | bytes]:
        """What the socket needs before it is bound."""
        return {
            zmq.CURVE_SERVER: 1,
            zmq.CURVE_SECRETKEY: self._own.secret.encode("ascii"),
            zmq.ZAP_DOMAIN: DOMAIN.encode("ascii"),
            zmq.ZAP_ENFORCE_DOMAIN: 1,
            zmq.HANDSHAKE_IVL: HANDSHAKE_MS,
        }

    def watch(self, socket: zmq.Socket[bytes]) -> None:
        """Count the handshakes with the bound socket that fail before a key is seen."""
        self._monitor = socket.get_monitor_socket(_FAILED)

    @property
    def sockets(self) -> Sequence[zmq.Socket[bytes]]:
        """What becomes readable when `attend` has something to do."""
        return (self._zap,) if self._monitor is None else (self._zap, self._monitor)

    def attend(self) -> None:
        """Answer all who knock. Does not block, but for a look at the access file once a second."""
        while self._zap.poll(0):
            self._zap.send_multipart(self._judge(self._zap.recv_multipart()))
        while self._monitor is not None and self._monitor.poll(0):
            recv_monitor_message(self._monitor)
            self._refusals.note(Refused.HANDSHAKE)

    def _judge(self, asked: Sequence[bytes]) -> list[bytes]:
        """The reply to a ZAP request: version, id, domain, address, identity, mechanism, credentials."""
        number = asked[1] if len(asked) > 1 else b""
        key = _key_of(asked)
        if key is None:
            self._refusals.note(Refused.HANDSHAKE)
        elif self._book.table.of_key(key) is not None:
            return [_VERSION, number, *_OK, key.encode("ascii"), b""]
        else:
            revoked = key in self._book.table.by_key
            address = asked[3].decode("ascii", "replace")
            self._refusals.note(
                Refused.REVOKED_KEY if revoked else Refused.UNKNOWN_KEY, key=key, address=address
            )
        return [_VERSION, number, *_REFUSED, b"", b""]

    def close(self, socket: zmq.Socket[bytes] | None = None) -> None:
        """Let nobody in any more; call it before the `socket` that is watched is closed."""
        if self._monitor is not None and socket is not None:
            socket.disable_monitor()
            self._monitor.close(linger=0)
        self._zap.close(linger=0)


def _key_of(asked: Sequence[bytes]) -> str | None:
    """The public key (Z85) of a ZAP request of this domain; None where it is none."""
    if len(asked) != _FIELDS or asked[0] != _VERSION or asked[2] != DOMAIN.encode("ascii"):
        return None
    if asked[5] != _CURVE or len(asked[6]) != _KEY_BYTES:
        return None
    return z85.encode(asked[6]).decode("ascii")
