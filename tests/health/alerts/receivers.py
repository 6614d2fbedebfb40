"""A mail server and a web server on loopback that keep what they are sent."""

from __future__ import annotations

import json
import threading
import time
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from aiosmtpd.controller import Controller

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import EmailMessage

DEADLINE_S = 30.0


def wait_until(true: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Wait for something, and fail where it does not come."""
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


class Mailbox:
    """Takes mail on a port; it can be down and come back there."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.mails: list[EmailMessage] = []
        self.refuses = ""
        self._server: Controller | None = None

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.refuses:
            return self.refuses
        self.mails.append(message_from_bytes(envelope.content, policy=default))  # type: ignore[arg-type]
        return "250 OK"

    def start(self) -> Self:
        self._server = Controller(self, hostname="127.0.0.1", port=self.port)
        self._server.start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def url(self) -> str:
        return f"mailto://localhost:{self.port}/?from=appia@example.org&to=ops@example.org&mode=insecure"

    @property
    def texts(self) -> list[str]:
        return [mail.get_body(("plain",)).get_content() for mail in self.mails]  # type: ignore[union-attr]


class Hook:
    """Takes JSON over HTTP; it can answer with an error, lead elsewhere, or not answer at all."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.status = 200
        self.hangs = threading.Event()
        self._free = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 20

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if hook.hangs.is_set():
                    self._trickle()
                    return
                if hook.status == 200:
                    hook.paths.append(self.path)
                    hook.got.append(json.loads(body))
                self.send_response(hook.status)
                if hook.status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                hook.paths.append(f"GET {self.path}")
                self.send_response(200)
                self.end_headers()

            def _trickle(self) -> None:
                """Answer a byte at a time, so that no time limit between two of them helps."""
                try:
                    while not hook._free.wait(0.2):
                        self.wfile.write(b"H")
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        self._free.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
