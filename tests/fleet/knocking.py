"""Which TCP ports let somebody in: a program for any place on the network.

`python -m fleet.knocking ADDRESS...` tries to connect to each of the first 10,000 ports of every address, in earnest,
and prints one JSON object: by the address the ports at which a connection was made.
"""

from __future__ import annotations

import errno
import json
import resource
import selectors
import socket
import sys
import time
from contextlib import ExitStack

LAST = 10_000
AT_ONCE = 5_000
WITHIN_S = 1.5
"""On one computer an answer takes a millisecond, and the first packet is sent once more after a second."""


def knock(address: str, ports: range) -> list[int]:
    """The ports that let in; blocks for `WITHIN_S` where packets are dropped."""
    family, _, _, _, where = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        waiting = 0
        for port in ports:
            knocker = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            knocker.setblocking(False)  # noqa: FBT003 - the name of the socket's own method says what it is
            if knocker.connect_ex((where[0], port, *where[2:])) in {0, errno.EINPROGRESS}:
                selector.register(knocker, selectors.EVENT_WRITE, port)
                waiting += 1
        return sorted(_let_in(selector, waiting))


def _let_in(selector: selectors.BaseSelector, waiting: int) -> list[int]:
    """The ports of those that are connected before the time is over."""
    found = []
    until = time.monotonic() + WITHIN_S
    while waiting and (left := until - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            knocker = key.fileobj
            assert isinstance(knocker, socket.socket)
            if knocker.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.append(key.data)
            selector.unregister(knocker)
            waiting -= 1
    return found


def main(addresses: list[str]) -> int:
    """Run the program."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    batches = [range(first, min(first + AT_ONCE, LAST + 1)) for first in range(1, LAST + 1, AT_ONCE)]
    sys.stdout.write(
        json.dumps({one: [port for ports in batches for port in knock(one, ports)] for one in addresses})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
