"""The command `appia http` in a process of its own, over a replica in another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Asker:
    """Asks a server that runs."""

    server: Any
    session: requests.Session

    @property
    def url(self) -> str:
        """Where it answers."""
        return str(self.server.url)

    def post(self, op: str, **more: Any) -> requests.Response:
        """Ask an operation."""
        return self.session.post(f"{self.url}/v1/{op}", timeout=30, **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        """Get a path."""
        return self.session.get(f"{self.url}{path}", timeout=30, **more)

    def end(self) -> int:
        """Ask the server to end, and give its exit status."""
        return int(self.server.end())


@pytest.fixture
def serve(start_server: Any) -> Iterator[Callable[..., Asker]]:
    """Starts servers over the replicas at some endpoints."""
    with requests.Session() as session:
        yield lambda *endpoints: Asker(start_server(["http", "--port", "0"], endpoints), session)
