"""The questions of analysts in Python: every operation of the replicas as a method, blocking.

`async_client.AsyncClient` has the same methods to await. `connect.connect` makes either from a state directory.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Self

import zmq

from services.rag.asking import KIND, Asking, FixedReplicas, Look, Patience, Replicas
from services.rag.questions import Questions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from services.common.access.credentials import Credentials

__all__ = ["KIND", "Client", "FixedReplicas", "Patience", "Replicas"]


class Client(Questions):
    """Asks the replicas and blocks for the answer. For one thread at a time; make one for each."""

    def __init__(
        self,
        replicas: Replicas,
        context: zmq.Context[zmq.Socket[bytes]],
        patience: Patience | None = None,
        rng: random.Random | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        """Connect to nobody yet. `rng` decides who is asked first; without `credentials` only this machine is."""
        rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._asking = Asking(replicas, context, patience or Patience(), rng, credentials)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, op: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Ask any replica an operation of docs/queries.md; blocks until one answers, at most `Patience.overall_s`.

        Raises:
            RpcRefused: the question was refused.
            AppiaError: no replica is known, or none answered in time.
        """
        steps = self._asking.ask(op, args)
        while True:
            try:
                step = next(steps)
            except StopIteration as done:
                return dict(done.value)
            if isinstance(step, Look):
                self._asking.replicas.refresh()
            elif step.sockets:
                _poll(step.sockets, step.seconds)
            else:
                time.sleep(step.seconds)

    def close(self) -> None:
        """Close all connections."""
        self._asking.close()


def _poll(sockets: Any, seconds: float) -> None:
    poller = zmq.Poller()
    for socket in sockets:
        poller.register(socket, zmq.POLLIN)
    poller.poll(int(seconds * 1000) + 1)
