"""Hears what services say of themselves, as systemd does (sd_notify(3)): that they are ready, work, or are stopping.

One datagram socket for all of them, in a folder that no other user may enter. The kernel keeps ten datagrams of a
socket (unix(7)), so whoever may send there could drown what healthy services say, and have them killed. Who spoke is
what the kernel says (SCM_CREDENTIALS), and only that.
"""

from __future__ import annotations

import socket
import struct
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

READY, WORKS, STOPPING = "READY=1", "WATCHDOG=1", "STOPPING=1"
_MOST_BYTES = 4096
_LONGEST_FOLDER = 60
"""Bytes of the temporary folder's name; an address has at most 107 (sun_path, unix(7))."""
_MOST_AT_ONCE = 1000
_SHORT = "/tmp"  # noqa: S108 - a private folder is made in it
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: struct ucred


@dataclass(frozen=True)
class Notice:
    """What one process said: lines such as `READY=1`."""

    pid: int
    lines: frozenset[str]


class Notices:
    """The socket; for one thread. Close it at the end."""

    def __init__(self) -> None:
        """Listen in a folder of its own."""
        usual = tempfile.gettempdir()
        is_short = len(usual.encode()) <= _LONGEST_FOLDER
        self._folder = tempfile.TemporaryDirectory(prefix="appia-", dir=usual if is_short else _SHORT)
        self._address = str(Path(self._folder.name, "notify"))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.settimeout(0)
        self._socket.bind(self._address)

    def environment(self, watchdog_s: float) -> Mapping[str, str]:
        """What a service has to be started with; with 0 seconds nobody waits for its word."""
        told = {"NOTIFY_SOCKET": self._address}
        return {**told, "WATCHDOG_USEC": str(int(watchdog_s * 1e6))} if watchdog_s else told

    def read(self) -> Iterator[Notice]:
        """What was said since the last time, in order. Does not block."""
        for _ in range(_MOST_AT_ONCE):
            try:
                data, ancillary, _, _ = self._socket.recvmsg(
                    _MOST_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size)
                )
            except BlockingIOError:
                return
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    with suppress(struct.error):
                        pid, _, _ = _CREDENTIALS.unpack(content)
                        yield Notice(pid, frozenset(data.decode("utf-8", "replace").splitlines()))

    def close(self) -> None:
        """Hear nothing more."""
        self._socket.close()
        self._folder.cleanup()
