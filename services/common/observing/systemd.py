"""Tells who supervises this process how it is: the protocol of sd_notify(3), in plain datagrams.

systemd, and `appia up`, give a service the address of a socket (`NOTIFY_SOCKET`) and, where they watch over it, the
time within which it has to say that it works (`WATCHDOG_USEC`, sd_watchdog_enabled(3)).
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_ADDRESS, _WATCHDOG, _WATCHED_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
_LONGEST_STATUS = 200


@dataclass(frozen=True)
class Supervised:
    """How this process is watched over: where to tell (empty for nowhere), and within how many seconds (0: never)."""

    address: str = ""
    watchdog_s: float = 0.0

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Supervised:
        """Read the variables, and take them out: they are not for processes that this one starts."""
        address = environ.pop(_ADDRESS, "")
        told, pid = environ.pop(_WATCHDOG, ""), environ.pop(_WATCHED_PID, "")
        is_meant = pid in {"", str(os.getpid())} and told.isascii() and told.isdigit()
        return cls(address if address[:1] in {"/", "@"} else "", int(told) / 1e6 if is_meant else 0.0)


ALONE = Supervised()
"""Of a process that nobody watches over."""


class Notifier:
    """Sends to the supervisor; does nothing where there is none. Never blocks, never raises. For any thread."""

    def __init__(self, supervised: Supervised) -> None:
        """Open a socket where there is somebody to tell; `close` it at the end."""
        self.watchdog_s = supervised.watchdog_s if supervised.address else 0.0
        # A leading @ stands for the zero byte of an abstract address (unix(7)).
        self._address = (
            supervised.address.replace("@", "\0", 1) if supervised.address[:1] == "@" else supervised.address
        )
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if supervised.address else None
        if self._socket is not None:
            self._socket.settimeout(0)

    def ready(self) -> None:
        """The start is over."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The end begins."""
        self._send("STOPPING=1")

    def works(self) -> None:
        """What the service exists for moves; has to be said again within the time of the watchdog."""
        self._send("WATCHDOG=1")

    def status(self, sentence: str) -> None:
        """Say how it is, for `systemctl status`."""
        self._send(f"STATUS={sentence.splitlines()[0][:_LONGEST_STATUS] if sentence else ''}")

    def close(self) -> None:
        """Say nothing more."""
        if self._socket is not None:
            self._socket.close()

    def _send(self, line: str) -> None:
        if self._socket is None:
            return
        # A supervisor that is gone, or does not read, is no reason for a service to fail or to wait.
        with suppress(OSError):
            self._socket.sendto(line.encode("utf-8", "replace"), self._address)
