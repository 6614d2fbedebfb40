"""The command `appia http` in a process of its own, over a replica in another; keys that may ask."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import requests

from services.common.access.edit import new_token
from services.common.access.table import token_digest
from tests.common.access.conftest import table, write_access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


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

    def logged(self) -> str:
        """End the server, and give what it wrote to standard error."""
        self.server.process.terminate()
        return str(self.server.process.communicate(timeout=20)[1])


@pytest.fixture
def serve(start_server: Any) -> Iterator[Callable[..., Asker]]:
    """Starts servers over the replicas at some endpoints, with more words for the command."""
    with requests.Session() as session:
        yield lambda *endpoints, words=(): Asker(
            start_server(["http", "--port", "0", *words], endpoints), session
        )


@dataclass
class Keys:
    """An access file, and a token for each key that is put into it."""

    file: Path
    tokens: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, public_key: str = "", **fields: Any) -> dict[str, str]:
        """Add a key or change what it may; gives the header with its token."""
        token = self.tokens.setdefault(name, new_token())
        self.tables[name] = table(name, public_key, token_sha256=token_digest(token), **fields)
        write_access(self.file, *self.tables.values())
        return {"Authorization": f"Bearer {token}"}

    @property
    def secrets(self) -> list[str]:
        """What no log may have."""
        return [*self.tokens.values(), *map(token_digest, self.tokens.values())]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """An access file without a key."""
    write_access(tmp_path / "access.toml")
    return Keys(tmp_path / "access.toml")


def events_of(text: str) -> list[dict[str, Any]]:
    """The lines of a log, of which each has to be JSON."""
    return [json.loads(line) for line in text.splitlines()]
