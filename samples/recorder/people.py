"""Ordinary office work: `people.py ADDRESSES SECONDS [SKIPPED...]` acts as the people at these addresses."""

from __future__ import annotations

import contextlib
import http.client
import random
import smtplib
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WEB, FILES, BASTION, MAIL, CHAT, DNS = (f"10.20.1.{last}" for last in (10, 20, 22, 25, 30, 53))
SITES = [f"198.51.100.{last}" for last in range(10, 30)]


def quietly(command: list[str]) -> None:
    """Run a client program; what it says and whether it succeeds do not matter here."""
    nowhere = subprocess.DEVNULL
    subprocess.run(command, stdout=nowhere, stderr=nowhere, check=False, timeout=30)


class Person:
    """One host's user: seeded by the address, so that habits differ from host to host."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.rng = random.Random(address)
        self.sites = self.rng.sample(SITES, 6)

    def resolve(self, name: str, kind: int = 1) -> None:
        """Ask the office resolver for a name (RFC 1035 query, type A = 1, AAAA = 28)."""
        labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
        question = struct.pack(">HHHHHH", self.rng.randrange(65536), 256, 1, 0, 0, 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(2)
            sock.sendto(question + labels + b"\0" + struct.pack(">HH", kind, 1), (DNS, 53))
            sock.recv(2048)

    def size(self, middle: int, largest: int) -> int:
        """A size with a long tail: the median is `middle`."""
        return min(largest, int(self.rng.lognormvariate(0, 1.2) * middle) + 1)

    def pages(self, server: str, requests: int) -> None:
        """Fetch pages over one kept connection, encrypted or not."""
        source = (self.address, 0)
        if self.rng.random() < 0.6:
            context = ssl._create_unverified_context()  # noqa: S323, SLF001 - our own certificate, made for the hour
            link: http.client.HTTPConnection = http.client.HTTPSConnection(
                server, timeout=20, source_address=source, context=context
            )
        else:
            link = http.client.HTTPConnection(server, timeout=20, source_address=source)
        with contextlib.closing(link):
            for _ in range(requests):
                path = self.rng.choice([f"/d/{self.size(6000, 400_000)}", f"/p/{self.rng.randrange(40)}"])
                link.request("GET", path)
                link.getresponse().read()
                time.sleep(self.rng.uniform(0, 0.15))

    def browse(self) -> None:
        """Look a site up and read some pages, over one to three connections."""
        site = self.rng.choice(self.sites)
        self.resolve(f"www{site.rsplit('.')[-1]}.example.net")
        if self.rng.random() < 0.4:
            self.resolve(f"cdn{self.rng.randrange(30)}.example.net", 28)
        for _ in range(self.rng.choice([1, 1, 2, 3])):
            self.pages(site, self.rng.choice([1, 1, 2, 4]))

    def intranet(self) -> None:
        """Read the office's own web pages; now and then mistype a password."""
        self.pages(WEB, self.rng.choice([1, 2, 3]))
        if self.rng.random() < 0.05:
            link = http.client.HTTPConnection(WEB, timeout=10)
            link.request("POST", "/login", b"user=someone&password=oops")
            link.getresponse().read()
            link.close()

    def curl(self) -> None:
        """Fetch one file with curl."""
        url = f"http://{self.rng.choice(self.sites)}/d/{self.size(20_000, 900_000)}"
        quietly(["curl", "-s", "-o", "/dev/null", url])

    def dig(self) -> None:
        """Look a few names up."""
        for _ in range(self.rng.randint(1, 3)):
            self.resolve(f"host{self.rng.randrange(200)}.example.net", self.rng.choice([1, 28, 15]))

    def mail(self) -> None:
        """Send a mail."""
        with smtplib.SMTP(
            MAIL, 25, local_hostname="client", timeout=20, source_address=(self.address, 0)
        ) as link:
            body = "x" * 70 + "\n"
            link.sendmail("a@example.org", ["b@example.org"], body * (self.size(4000, 200_000) // 70 + 1))

    def files(self) -> None:
        """Store or fetch a document."""
        link = http.client.HTTPConnection(FILES, 8080, timeout=30)
        with contextlib.closing(link):
            if self.rng.random() < 0.5:
                link.request("PUT", "/store", bytes(self.size(20_000, 600_000)))
            else:
                link.request("GET", f"/d/{self.size(30_000, 800_000)}")
            link.getresponse().read()

    def share(self) -> None:
        """Open the file share and exchange some messages."""
        with socket.create_connection((FILES, 445), timeout=20) as sock:
            self.exchange(sock, self.rng.randint(3, 12), 300)

    def exchange(self, sock: socket.socket, messages: int, middle: int) -> None:
        """Send framed messages and read each answer."""
        for _ in range(messages):
            size = self.size(middle, 4000)
            sock.sendall(size.to_bytes(4, "big") + bytes(size))
            sock.recv(4096)

    def shell(self) -> None:
        """Run a command on the bastion by ssh, with the key in the working directory."""
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"]
        words = [word for option in options for word in ("-o", option)]
        command = f"head -c {self.size(4000, 300_000)} /dev/zero"
        login = ["ssh", "-q", "-F", "none", "-i", "id", *words, f"root@{BASTION}"]
        quietly([*login, command])

    def clock(self) -> None:
        """Ask for the time (NTP, RFC 5905: 48 bytes, client mode)."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(2)
            sock.sendto(b"\x23" + bytes(47), (CHAT, 123))
            sock.recv(512)

    def chat(self, seconds: float) -> None:
        """Keep one connection open and say something every few seconds."""
        until = time.monotonic() + seconds
        with socket.create_connection((CHAT, 5222), timeout=20) as sock:
            while time.monotonic() < until:
                self.exchange(sock, 1, 120)
                time.sleep(self.rng.uniform(1, 7))

    def work(self, seconds: float, skipped: set[str]) -> None:
        """Do one thing after the other until the time is over."""
        habits = {
            "browse": 9,
            "intranet": 6,
            "curl": 2,
            "dig": 4,
            "mail": 3,
            "files": 3,
            "share": 2,
            "shell": 1,
            "clock": 2,
        }
        names = [name for name in habits if name not in skipped]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            activity = self.rng.choices(names, [habits[name] for name in names])[0]
            with contextlib.suppress(OSError, http.client.HTTPException, smtplib.SMTPException):
                getattr(self, activity)()
            time.sleep(self.rng.expovariate(1 / 1.6))

    def visit(self, seconds: float) -> None:
        """Be a visitor from outside: read the office's public pages, deliver mail."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(OSError, http.client.HTTPException, smtplib.SMTPException):
                if self.rng.random() < 0.2:
                    self.mail()
                else:
                    self.pages(WEB, self.rng.choice([1, 2, 4]))
            time.sleep(self.rng.expovariate(1 / 4))

    def watch(self, seconds: float) -> None:
        """Be the monitoring host: probe every service, every four seconds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for server, port in ((WEB, 80), (FILES, 8080)):
                link = http.client.HTTPConnection(server, port, timeout=5)
                with contextlib.closing(link), contextlib.suppress(OSError, http.client.HTTPException):
                    link.request("GET", "/health")
                    link.getresponse().read()
            for server, port in ((MAIL, 25), (BASTION, 22)):
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection((server, port), timeout=5) as sock,
                ):
                    sock.recv(100)
            time.sleep(4)


def main(addresses: list[str], seconds: float, skipped: set[str]) -> None:
    """Act as the persons at these addresses until the time is over."""
    jobs: list[Callable[[], None]] = []
    for address in addresses:
        person = Person(address)
        if address.startswith("198."):
            jobs.append(partial(person.visit, seconds))
        elif address.startswith("10.20.1."):
            jobs.append(partial(person.watch, seconds))
        else:
            jobs += [partial(person.work, seconds, skipped), partial(person.chat, seconds)]
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 10)


if __name__ == "__main__":
    main(sys.argv[1].split(","), float(sys.argv[2]), set(sys.argv[3:]))
