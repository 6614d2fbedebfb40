"""The command `appia http` in a process of its own, over a replica in another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APPIA = Path(sys.executable).parent / "appia"


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    process: subprocess.Popen[str]
    url: str
    session: requests.Session

    def post(self, op: str, **more: Any) -> requests.Response:
        """Ask an operation."""
        return self.session.post(f"{self.url}/v1/{op}", timeout=30, **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        """Get a path."""
        return self.session.get(f"{self.url}{path}", timeout=30, **more)

    def end(self) -> int:
        """Ask it to end, and give its exit status."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=20)
        return self.process.returncode


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers over the replicas at some endpoints."""
    started: list[Server] = []

    def start(*endpoints: str) -> Server:
        words = [str(APPIA), "http", "--port", "0", "--json"]
        for endpoint in endpoints:
            words += ["--endpoint", endpoint]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("APPIA_")}
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        server = Server(process, ready["url"], requests.Session())
        started.append(server)
        return server

    yield start
    for server in started:
        server.session.close()
        if server.process.poll() is None:
            server.end()
        for stream in (server.process.stdout, server.process.stderr):
            if stream is not None:
                stream.close()
