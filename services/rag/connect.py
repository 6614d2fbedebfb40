"""Opens a client from what a user knows: a state directory, a registry, or the endpoints of replicas."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from services.common.access.credentials import Credentials
from services.common.errors import AppiaError, UsageError
from services.common.registry.connect import open_registry
from services.common.registry.known import KnownSet
from services.rag.asking import KIND, FixedReplicas, Patience
from services.rag.async_client import AsyncClient
from services.rag.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from services.rag.asking import Replicas

_LOOKS, _LOOK_AGAIN_S = 3, 0.3
"""How often a new client looks into the registry: members of etcd that are busy, or choose a leader just then, answer
at the second try; who is away or refuses is told soon all the same."""


@dataclass(frozen=True)
class Where:
    """Where replicas are found: at `endpoints` (tcp://HOST:PORT), else in the registry.

    The registry is `file`, in the state directory, or `etcds://HOST:PORT[/PREFIX]`, which needs none, but the folder
    `registry_keys` with what etcd asks for.
    """

    state: Path | None = None
    registry: str = "file"
    endpoints: tuple[str, ...] = ()
    registry_keys: Path | None = None
    key: Path | None = None
    """Own key file (`appia access new`), for replicas that answer known keys only."""
    server_key: str | None = None
    """The public key that replicas must have, or a file that holds it; that of the registry where none is given."""

    def credentials(self) -> Credentials:
        """What replicas with keys are asked with; blocks and raises as `Credentials.read`."""
        return Credentials.read(self.key, self.server_key)

    def replicas(self) -> Replicas:
        """Who may be asked; blocks for the registry, three times its time at most.

        Raises:
            UsageError: neither endpoints nor what the registry needs are given.
            AppiaError: the registry does not answer.
        """
        if self.endpoints:
            return FixedReplicas(self.endpoints)
        if self.registry == "file" and self.state is None:
            raise UsageError("Where are the replicas? Give a state directory, an etcd registry or endpoints.")
        known = KnownSet(open_registry(self.registry, self.state or Path(), self.registry_keys), KIND)
        for look in range(_LOOKS):
            if look:
                time.sleep(_LOOK_AGAIN_S)
            if known.refresh():
                return known
        raise AppiaError(known.last_error or f"The registry {self.registry} does not answer.")


@contextmanager
def connect(where: Where, patience: Patience | None = None) -> Iterator[Client]:
    """A client that blocks, for one thread, as long as the block runs. Raises as `Where.replicas` does."""
    replicas = where.replicas()
    credentials = where.credentials()
    with zmq.Context() as context, Client(replicas, context, patience, credentials=credentials) as client:
        yield client


@asynccontextmanager
async def connect_async(where: Where, patience: Patience | None = None) -> AsyncIterator[AsyncClient]:
    """A client to await, for the tasks of this event loop, as long as the block runs. Raises as `Where.replicas`."""
    replicas = where.replicas()
    credentials = where.credentials()
    with zmq.Context() as context:
        async with AsyncClient(replicas, context, patience, credentials=credentials) as client:
            yield client
