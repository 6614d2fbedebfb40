"""Where firewalls of wire version 1 send their decisions, and who takes decisions in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import zmq

from services.common.errors import AppiaError
from services.common.sockets import listen
from services.common.wire.body import decompress
from services.ingester.draining import SOCKET_OPTIONS, drain_with_peers, subscribe
from services.ingester.private_links import check_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from services.common.wire.v1 import SealedV1, V1Opener
    from services.ingester.decisions import DecisionDesk

    Socket = zmq.Socket[bytes]

FIREWALL = "firewall"
"""The name that version 1 frames of firewalls are counted under, where no seed names one."""


@dataclass(frozen=True)
class FirewallPlaces:
    """Where to listen and to connect; empty for nowhere."""

    pull: str = ""
    sub: Sequence[str] = ()
    allow_public: bool = False


def open_sockets(
    context: zmq.Context[Socket], places: FirewallPlaces, report: Callable[[str, dict[str, Any]], None]
) -> list[Socket]:
    """Bind and connect; whoever takes the sockets closes them.

    Raises:
        UsageError: an endpoint is none, or would listen to the world.
        AppiaError: an endpoint cannot be bound.
    """
    check_private((places.pull, *places.sub), report, allow_public=places.allow_public)
    sockets: list[Socket] = []
    try:
        if places.pull:
            sockets.append(listen(context, zmq.PULL, places.pull, SOCKET_OPTIONS))
        if places.sub:
            sockets.append(subscribe(context, places.sub))
    except AppiaError:
        for socket in sockets:
            socket.close(linger=0)
        raise
    return sockets


@dataclass(frozen=True)
class Firewalls:
    """The desk, and sockets whose frames hold a `DetectionBatch` each; `opener` has a channel of its own.

    A frame that was sealed for another channel does not open here, so an event never passes for a decision.
    """

    desk: DecisionDesk
    sockets: Sequence[Socket] = ()
    opener: V1Opener | None = None

    @property
    def endpoint(self) -> str:
        """Where firewalls push to; empty for nowhere."""
        for socket in self.sockets:
            if socket.getsockopt(zmq.TYPE) == zmq.PULL:
                return socket.getsockopt_string(zmq.LAST_ENDPOINT)
        return ""

    def arrived(self) -> Iterator[tuple[bytes, str]]:
        """Frames that have arrived, at most a group a socket, and the address that each came from."""
        for socket in self.sockets:
            yield from drain_with_peers(socket)

    def open(self, frame: bytes, peer: str, note: Callable[[str, SealedV1], None]) -> tuple[bytes, str]:
        """The serialized batch of a frame, and whose it is; `note` is told of every authentic frame.

        Raises:
            FrameRefused: it is forged, or holds no body; what `note` raises.
        """
        if self.opener is None:
            raise ValueError("there are sockets and nothing that opens their frames")
        sealed, plain = self.opener.authenticate(frame, peer)
        name = sealed.node or FIREWALL
        note(name, sealed)
        return decompress(plain), f"v1 {FIREWALL} {sealed.node or ''}".rstrip()

    def close(self, linger_ms: int) -> None:
        """Close the sockets and the log."""
        for socket in self.sockets:
            socket.close(linger=linger_ms)
        self.desk.close()
