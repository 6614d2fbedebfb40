"""Serves /metrics, /healthz and /readyz over HTTP/1.1, to this machine only.

A few threads accept and answer, one request a connection; who is slow holds one of them for `PATIENCE_S` at most, and
who comes while all are held waits in the system's queue. Nothing is written, and no part of a request is used but its
method, its path and the header Host, which keeps pages of a browser from reading it (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

OBSERVE = "where /metrics, /healthz and /readyz are served, HOST:PORT on loopback; empty for nowhere"
"""What the setting `observe` of every service is."""
PATIENCE_S = 5.0
THREADS, WAITING = 3, 16
MOST_HEAD = 8192
TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
_PLACE = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:/]+)):(\d{1,5})")
_REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True)
class Answer:
    """What is sent: an HTTP status and a text."""

    status: int
    text: bytes
    kind: str = TEXT

    @classmethod
    def of(cls, status: int, sentence: str) -> Answer:
        """One line of text."""
        return cls(status, f"{sentence}\n".encode())


Page = Callable[[], Answer]


def check_place(place: str) -> tuple[str, int]:
    """The address and port that a setting `observe` names, HOST:PORT; port 0 for any free one.

    Raises:
        UsageError: it is none, or not on loopback.
    """
    match = _PLACE.fullmatch(place)
    host, port = (match[1] or match[2], int(match[3])) if match else ("", 0)
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if address is None or port > 65_535:
        raise UsageError(
            f"{place[:80]!r} is no place to observe at; write ADDRESS:PORT, for example 127.0.0.1:9464."
        )
    if not address.is_loopback:
        raise UsageError(
            f"{place} is not on loopback: measures are served to this machine only; let a proxy with TLS and a login "
            "pass them on (docs/metrics.md)."
        )
    return str(address), port


class ProbeServer:
    """Answers from `start` to `stop`."""

    def __init__(self, place: str, pages: Mapping[str, Page], log: FilteringBoundLogger) -> None:
        """Bind; nothing is answered before `start`.

        Args:
            place: as `check_place` takes it.
            pages: what answers each path; for several threads.
            log: told what a page raises.

        Raises:
            UsageError: the place is none.
            AppiaError: it cannot be bound.
        """
        self._pages = pages
        self._log = log
        self._socket = _listen(*check_place(place))
        host, port = self._socket.getsockname()[:2]
        self.place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        """Where it listens, ADDRESS:PORT."""
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"probe-{i}") for i in range(THREADS)]

    def start(self) -> None:
        """Begin to answer; does not block."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Answer nobody any more; blocks for requests that are being answered."""
        self._stopping.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept(2)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                # The end, or a connection that was gone again, or no file handle left for it.
                self._stopping.wait(0.05)
                continue
            with connection, suppress(OSError):
                self._serve(connection, time.monotonic() + PATIENCE_S)

    def _serve(self, connection: socket.socket, until: float) -> None:
        head = _read_head(connection, until)
        method, answer = self._answer(head)
        text = b"" if method == "HEAD" else answer.text
        status = f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}"
        lines = [
            status,
            f"Content-Type: {answer.kind}",
            f"Content-Length: {len(answer.text)}",
            "X-Content-Type-Options: nosniff",
            "Cache-Control: no-store",
            "Connection: close",
        ]
        connection.settimeout(max(until - time.monotonic(), 0.1))
        connection.sendall("\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + text)

    def _answer(self, head: bytes) -> tuple[str, Answer]:
        request = _parse(head)
        if request is None:
            return "", Answer.of(400, "This is no HTTP request of at most 8 KiB.")
        method, path, host = request
        if not _is_this_machine(host):
            return method, Answer.of(403, "The header Host must name this machine.")
        page = self._pages.get(path)
        if page is None:
            return method, Answer.of(404, f"There are: {', '.join(self._pages)}.")
        if method not in {"GET", "HEAD"}:
            return method, Answer.of(405, "Only GET and HEAD are answered.")
        try:
            return method, page()
        except Exception:  # noqa: BLE001 - a fault in one page must not end the thread
            self._log.exception("a page failed", path=path)
            return method, Answer.of(500, "This page failed; the log of the service has the reason.")


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(WAITING)
    except OSError as error:
        listener.close()
        raise AppiaError(
            f"{host}:{port} cannot be bound ({error.strerror}): stop the process that has it, or choose another place "
            "to observe at."
        ) from None
    return listener


def _read_head(connection: socket.socket, until: float) -> bytes:
    """What came up to the empty line that ends the head; less of it where it is too long or the other end closed.

    Raises:
        TimeoutError: it did not end by `until` (monotonic seconds), however much is still coming.
    """
    head = b""
    while b"\r\n\r\n" not in head and len(head) <= MOST_HEAD:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        part = connection.recv(MOST_HEAD)
        if not part:
            break
        head += part
    return head


def _parse(head: bytes) -> tuple[str, str, str] | None:
    """Method, path and Host of a request; None where it is none."""
    text, end, _ = head.partition(b"\r\n\r\n")
    first, *lines = text.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if not end or len(text) > MOST_HEAD or len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    hosts = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("host:")]
    return words[0], words[1].partition("?")[0], hosts[0] if len(hosts) == 1 else ""


def _is_this_machine(host: str) -> bool:
    name = re.sub(r":\d+$", "", host)
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
