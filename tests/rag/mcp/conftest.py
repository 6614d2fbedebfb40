"""The command `appia mcp` in a process of its own, over a replica in another, as an assistant meets it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

APPIA = Path(sys.executable).parent / "appia"
DAY, OPEN = "2026-01-20", "2026-01-22"


@dataclass(frozen=True)
class Assistant:
    """Asks by the protocol's own client, over standard input and output."""

    endpoints: tuple[str, ...]
    errors: Path

    @property
    def words(self) -> list[str]:
        """The command."""
        return ["mcp", *(word for endpoint in self.endpoints for word in ("--endpoint", endpoint))]

    @asynccontextmanager
    async def connected(self, mode: str = "auto") -> AsyncIterator[Client]:
        """A client of a server that it started."""
        server = StdioServerParameters(command=str(APPIA), args=self.words)
        with self.errors.open("a") as errors:
            async with Client(stdio_client(server, errlog=errors), mode=mode) as client:
                yield client

    def run(self, ask: Callable[[Client], Awaitable[Any]], mode: str = "auto") -> Any:
        """What `ask` returns of a client."""

        async def asked() -> Any:
            async with self.connected(mode) as client:
                return await ask(client)

        return asyncio.run(asked())


@pytest.fixture
def assistant(tmp_path: Path) -> Callable[..., Assistant]:
    """Assistants that ask the replicas at some endpoints."""
    return lambda *endpoints: Assistant(endpoints, tmp_path / "errors")


@pytest.fixture
def replica_at(world: Any, start_replica: Any) -> str:
    """A replica with a sealed and an open day."""
    world.fill(DAY, 60, sealed=True)
    world.fill(OPEN, 40, sealed=False)
    return str(start_replica(world.state.root).ready()["endpoint"])


@pytest.fixture
def serve_mcp(start_server: Any) -> Callable[..., Any]:
    """Starts servers over the replicas at some endpoints, on free ports of loopback, with more words."""
    return lambda *endpoints, words=(): start_server(["mcp", "--http", "0", *words], endpoints)
