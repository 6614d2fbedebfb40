"""The questions of analysts in Python, to be awaited: many at a time, on one event loop."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, cast

import zmq
import zmq.asyncio

from services.rag.asking import Asking, Look, Patience
from services.rag.questions import Questions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from services.common.access.credentials import Credentials
    from services.rag.asking import Replicas, Steps, Wait

MOST_AT_ONCE = 64
"""Questions under way at the same time; further ones wait for their turn."""

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(
    method: Callable[Concatenate[Any, P], T],
) -> Callable[Concatenate[AsyncClient, P], Awaitable[T]]:
    """The same method: it returns what `ask` returns, which is to be awaited here."""
    return cast("Callable[Concatenate[AsyncClient, P], Awaitable[T]]", method)


class AsyncClient:
    """Asks the replicas as `Client` does, without blocking the event loop. For the tasks of one loop."""

    def __init__(
        self,
        replicas: Replicas,
        context: zmq.Context[zmq.Socket[bytes]],
        patience: Patience | None = None,
        rng: random.Random | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        """Connect to nobody yet. `rng` decides who is asked first; without `credentials` only this machine is."""
        self._replicas = replicas
        self._context = context
        self._patience = patience or Patience()
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._credentials = credentials
        self._turn = asyncio.Semaphore(MOST_AT_ONCE)
        self._idle: list[Asking] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def ask(
        self,
        op: str,
        args: Mapping[str, Any],
        patience: Patience | None = None,
        on_behalf: str | None = None,
    ) -> dict[str, Any]:
        """Ask any replica an operation of docs/queries.md; waits at most `Patience.overall_s` from its turn on.

        A gateway asks `on_behalf` of a key by its name, see docs/access.md.

        Raises:
            RpcRefused: the question was refused.
            AppiaError: no replica is known, or none answered in time.
        """
        async with self._turn:
            asking = self._idle.pop() if self._idle else self._asking()
            try:
                answer = await self._answer(asking.ask(op, args, patience, on_behalf))
            except asyncio.CancelledError:
                asking.close()  # its answer is still to come; the next question starts with new connections
                raise
            finally:
                self._idle.append(asking)
            return answer

    def _asking(self) -> Asking:
        return Asking(self._replicas, self._context, self._patience, self._rng, self._credentials)

    async def _answer(self, steps: Steps) -> dict[str, Any]:
        while True:
            try:
                step = next(steps)
            except StopIteration as done:
                return dict(done.value)
            if isinstance(step, Look):
                await asyncio.to_thread(self._replicas.refresh)
            elif step.sockets:
                await _poll(step)
            else:
                await asyncio.sleep(step.seconds)

    similar = _awaited(Questions.similar)
    similar_hosts = _awaited(Questions.similar_hosts)
    search = _awaited(Questions.search)
    hybrid = _awaited(Questions.hybrid)
    explain = _awaited(Questions.explain)
    timeline = _awaited(Questions.timeline)
    novel = _awaited(Questions.novel)
    campaigns = _awaited(Questions.campaigns)
    get = _awaited(Questions.get)
    list = _awaited(Questions.list)
    feedback = _awaited(Questions.feedback)
    days = _awaited(Questions.days)
    stats = _awaited(Questions.stats)
    ping = _awaited(Questions.ping)

    def close(self) -> None:
        """Close all connections; no question may be under way."""
        for asking in self._idle:
            asking.close()
        self._idle.clear()


async def _poll(step: Wait) -> None:
    poller = zmq.asyncio.Poller()
    for socket in step.sockets:
        poller.register(socket, zmq.POLLIN)
    await poller.poll(int(step.seconds * 1000) + 1)
