"""A supervisor's socket, and a service's condition that tests change."""

from __future__ import annotations

import http.client
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from services.common.observing.condition import Condition, Configured, Process, Readiness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Service:
    """What a condition says now."""

    stuck: str = ""
    readiness: Readiness = field(default_factory=lambda: Readiness(ready=True))
    configured: Configured = field(default_factory=Configured)

    @property
    def condition(self) -> Condition:
        process = Process("toy", "toy-1", "1.2", 42, 0.0)
        return Condition(process, lambda: self.readiness, lambda: self.stuck, lambda: self.configured)


@pytest.fixture
def service() -> Service:
    return Service()


class Supervisor:
    """A datagram socket as systemd has one."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.settimeout(20)

    def hear(self) -> str:
        """The next word; blocks."""
        return self._socket.recv(4096).decode()

    def is_told_nothing(self) -> bool:
        self._socket.settimeout(0)
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(20)
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Supervisor]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@appia-test-{tmp_path.name}"
    found = Supervisor(address)
    yield found
    found.close()


def get(place: str, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """The status and text of a page."""
    connection = http.client.HTTPConnection(place, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
