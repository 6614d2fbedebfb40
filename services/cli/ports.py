"""Ports of a stack: free ones on the first start, the same ones later, so that a feed finds it again."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

from services.common.errors import UsageError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from services.common.durable import Disk

# Below the range from which Linux takes ports for outgoing connections (ip_local_port_range, 32768-60999):
# otherwise a remembered port could be in use by anything at the next start.
LOWEST, HIGHEST = 20_000, 32_000
TRIES = 200


def choose_port(address: str, taken: Sequence[int], random: random.Random) -> int:
    """A port at which nobody listens on `address`, and which is not among `taken`.

    Raises:
        UsageError: none was found.
    """
    for _ in range(TRIES):
        port = random.randint(LOWEST, HIGHEST)
        if port not in taken and is_free(address, port):
            return port
    raise UsageError(f"no free port was found on {address}: check that it is an address of this machine")


def is_free(address: str, port: int) -> bool:
    """Whether a service could listen there now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


class PortBook:
    """The ports a stack had, in a file of its own: `{"intake": 23120, "control": 25003, "rag-1": 21007}`."""

    def __init__(self, path: Path, random: random.Random, say: Callable[[str], None]) -> None:
        self._path = path
        self._random = random
        self._say = say
        self._known = _read(path)
        self._given: dict[str, int] = {}

    def port(self, name: str, address: str, wanted: int | None = None) -> int:
        """The port for `name`: the one that is wanted, else that of the last time, else a free one.

        Raises:
            UsageError: the wanted port is in use, or none is free.
        """
        taken = list(self._given.values())
        if wanted is not None:
            if wanted in taken or not is_free(address, wanted):
                raise UsageError(f"port {wanted} on {address} is in use: choose another one for {name}")
            port = wanted
        else:
            port = self._usual(name, address, taken)
        self._given[name] = port
        return port

    def _usual(self, name: str, address: str, taken: Sequence[int]) -> int:
        known = self._known.get(name)
        if known is not None and known not in taken and is_free(address, known):
            return known
        # The ports of services that do not run this time stay theirs.
        port = choose_port(address, [*taken, *self._known.values()], self._random)
        if known is not None:
            self._say(f"port {known} of {name} is in use by another program; it listens on port {port} now")
        return port

    def save(self, disk: Disk) -> None:
        """Remember the ports for the next start."""
        disk.write_file(self._path, (json.dumps({**self._known, **self._given}, indent=2) + "\n").encode())


def _read(path: Path) -> Mapping[str, int]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): port for name, port in found.items() if type(port) is int and 0 < port < 1 << 16}
