"""The servers of the recorded network: `servers.py ROLE ADDRESS...` serves until it is interrupted."""

from __future__ import annotations

import random
import socketserver
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zlib import crc32

# Seconds a request takes before it is answered: a server in the same room, and one across the internet.
NEAR, FAR = (0.001, 0.006), (0.012, 0.08)
LARGEST_ANSWER = 4_000_000


class Web(BaseHTTPRequestHandler):
    """Pages of a size fixed by their path, `/d/N` for N bytes, a login that always fails, any upload."""

    protocol_version = "HTTP/1.1"
    timeout = 100
    think = NEAR

    def do_GET(self) -> None:
        """Answer with a page."""
        size = 300 + crc32(self.path.encode()) % 9000
        if self.path.startswith("/d/"):
            size = min(int(self.path[3:]), LARGEST_ANSWER)
        elif self.path.startswith("/health"):
            size = 2
        self._answer(200 if "'" not in self.path else 500, size)

    def do_POST(self) -> None:
        """Swallow what is sent."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/login"):
            self._answer(401, 180)
        else:
            self._answer(201, 40)

    do_PUT = do_POST  # noqa: N815 - the name http.server looks for

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def _answer(self, status: int, size: int) -> None:
        time.sleep(random.uniform(*self.think))
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"x" * size)


class FarWeb(Web):
    """The same across the internet."""

    think = FAR


class Lines(socketserver.StreamRequestHandler):
    """A service that greets and answers each line by its first word."""

    timeout = 100
    greeting = b""
    answers: dict[bytes, bytes]
    otherwise = b"250 ok"
    # Words after the third of which the server hangs up.
    patience: tuple[bytes, ...] = ()

    def handle(self) -> None:
        """Talk until the peer leaves or says QUIT."""
        self.wfile.write(self.greeting + b"\r\n")
        strikes = 0
        while line := self.rfile.readline(4096).strip():
            word = line.split()[0].upper()
            time.sleep(random.uniform(*NEAR))
            self.wfile.write(self.answers.get(word, self.otherwise) + b"\r\n")
            if word == b"DATA":
                while self.rfile.readline(4096) not in (b".\r\n", b""):
                    pass
                self.wfile.write(b"250 queued\r\n")
            strikes += word in self.patience
            if word == b"QUIT" or strikes == 3:
                return


class Mail(Lines):
    """Takes mail and forgets it."""

    greeting = b"220 mail ready"
    answers = {b"DATA": b"354 go ahead", b"QUIT": b"221 bye"}  # noqa: RUF012 - read only


class Ftp(Lines):
    """Refuses every login, and hangs up after the third."""

    greeting = b"220 files ready"
    answers = {  # noqa: RUF012 - read only
        b"USER": b"331 password please",
        b"PASS": b"530 login incorrect",
        b"QUIT": b"221 bye",
    }
    otherwise = b"530 log in first"
    patience = (b"PASS",)


class Framed(socketserver.StreamRequestHandler):
    """Messages with a length in four bytes; each is answered by one of up to 700 bytes."""

    timeout = 300

    def handle(self) -> None:
        """Answer until the peer leaves."""
        while len(head := self.rfile.read(4)) == 4:
            self.rfile.read(int.from_bytes(head, "big"))
            size = random.randint(40, 700)
            time.sleep(random.uniform(*NEAR))
            self.wfile.write(size.to_bytes(4, "big") + bytes(size))


class Datagrams(socketserver.BaseRequestHandler):
    """Answers each datagram with one of 48 bytes."""

    def handle(self) -> None:
        """Send the answer."""
        _, sock = self.request
        time.sleep(random.uniform(*NEAR))
        sock.sendto(bytes(48), self.client_address)


class Tcp(socketserver.ThreadingTCPServer):
    """A thread per connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A peer that goes away is the point of half of this recording."""


class Http(Tcp, ThreadingHTTPServer):
    """HTTP over the same."""

    def server_bind(self) -> None:
        """Bind without asking a resolver for this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


class Udp(socketserver.ThreadingUDPServer):
    """A thread per datagram."""

    daemon_threads = True


# Of each role: server, port, what answers, whether it is encrypted.
ROLES: dict[str, list[tuple[type[Tcp | Udp], int, type[socketserver.BaseRequestHandler], bool]]] = {
    "web": [(Http, 80, Web, False), (Http, 443, Web, True)],
    "sites": [(Http, 80, FarWeb, False), (Http, 443, FarWeb, True)],
    "files": [(Http, 8080, Web, False), (Tcp, 21, Ftp, False), (Tcp, 445, Framed, False)],
    "mail": [(Tcp, 25, Mail, False)],
    "chat": [(Tcp, 5222, Framed, False), (Udp, 123, Datagrams, False)],
    "desktop": [(Tcp, 445, Framed, False)],
    "control": [(Http, 443, FarWeb, True), (Tcp, 8443, Framed, False), (Udp, 53, Datagrams, False)],
}


def main(role: str, addresses: list[str]) -> None:
    """Serve a role on every address; cert.pem and key.pem lie in the working directory."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(Path("cert.pem"), Path("key.pem"))
    for address in addresses:
        for server_class, port, handler, encrypted in ROLES[role]:
            server = server_class((address, port), handler)
            if encrypted:
                # Handshakes belong to the connection's thread: one silent peer must not stop the others.
                server.socket = tls.wrap_socket(
                    server.socket, server_side=True, do_handshake_on_connect=False
                )
            threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except KeyboardInterrupt:
        sys.exit(0)
