"""Asks whichever replica answers: finds them, sends on when one is slow or gone, and never waits longer than told."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

import zmq

from services.common.registry.port import Entry
from services.common.rpc_client import RpcClient, RpcRefused, RpcTimeout, RpcUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

KIND = "rag"
_RETRY_S = 0.1
# What another replica may answer better; any other refusal would be the same everywhere.
_PASSING = ("busy", "unavailable", "internal")


class Replicas(Protocol):
    """Who may be asked; `registry.known.KnownSet` is one."""

    def entries(self) -> list[Entry]:
        """The replicas believed alive; does not block."""
        ...

    def refresh(self) -> bool:
        """Look anew; may block for the registry."""
        ...

    def report_dead(self, entry: Entry) -> None:
        """Leave one out for a while."""
        ...


class FixedReplicas:
    """Replicas at endpoints that are known beforehand; a dead one is asked last."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        """Name the replicas by their number."""
        self._entries = [Entry(KIND, f"fixed-{number}", where) for number, where in enumerate(endpoints)]

    def entries(self) -> list[Entry]:
        """All of them."""
        return list(self._entries)

    def refresh(self) -> bool:
        """Nothing can change."""
        return True

    def report_dead(self, entry: Entry) -> None:
        """Nothing to leave out: there may be no other."""


@dataclass(frozen=True)
class Patience:
    """How long a client waits, in seconds: in all, for one replica, and until it asks a second one as well."""

    overall_s: float = 10.0
    per_try_s: float = 3.0
    hedge_s: float = 0.5


@dataclass(frozen=True)
class _Try:
    entry: Entry
    connection: RpcClient
    request_id: int
    started: float


@dataclass
class _Question:
    """One question while it is being asked: who has it, who may still get it, and until when."""

    op: str
    args: Mapping[str, Any]
    until: float
    tries: list[_Try] = field(default_factory=list)
    untried: list[Entry] = field(default_factory=list)
    next_try: float = 0.0
    rounds: int = 0
    refusal: RpcRefused | None = None


class Client:
    """Typed questions to the replicas. For one thread at a time; make one for each."""

    def __init__(
        self,
        replicas: Replicas,
        context: zmq.Context[zmq.Socket[bytes]],
        patience: Patience | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Connect to nobody yet. `rng` decides who is asked first."""
        self._replicas = replicas
        self._context = context
        self._patience = patience or Patience()
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._connections: dict[str, RpcClient] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def similar(
        self, event_id: str, k: int = 10, index: str = "fused", filters: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Events like one; see docs/queries.md. Raises as `ask` does."""
        args = {"event_id": event_id, "k": k, "index": index, "filters": dict(filters or {})}
        return self.ask("similar", args)

    def search(self, text: str, k: int = 10, filters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Events that mean what `text` says. Raises as `ask` does."""
        return self.ask("search", {"text": text, "k": k, "filters": dict(filters or {})})

    def get(self, event_id: str) -> dict[str, Any]:
        """One event whole. Raises as `ask` does."""
        return self.ask("get", {"event_id": event_id})

    def list(
        self, filters: Mapping[str, Any] | None = None, limit: int = 20, order: str = "newest"
    ) -> dict[str, Any]:
        """Events by time, `order` "newest" or "oldest" first. Raises as `ask` does."""
        return self.ask("list", {"filters": dict(filters or {}), "limit": limit, "order": order})

    def days(self) -> dict[str, Any]:
        """Which days there are. Raises as `ask` does."""
        return self.ask("days", {})

    def stats(self) -> dict[str, Any]:
        """Totals. Raises as `ask` does."""
        return self.ask("stats", {})

    def ping(self) -> dict[str, Any]:
        """Which replica answers. Raises as `ask` does."""
        return self.ask("ping", {})

    def ask(self, op: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Ask any replica; blocks until one answers, at most `Patience.overall_s`.

        Raises:
            RpcRefused: the question was refused.
            AppiaError: no replica is known, or none answered in time.
        """
        question = _Question(op, args, time.monotonic() + self._patience.overall_s)
        while time.monotonic() < question.until:
            if not question.tries and not question.untried:
                self._begin_round(question)
            if question.untried and (not question.tries or time.monotonic() >= question.next_try):
                self._try_next(question)
            self._wait(question)
            answer = self._collect(question)
            if answer is not None:
                return answer
        if question.refusal is not None:
            raise question.refusal
        waited_s = self._patience.overall_s
        raise RpcTimeout(f"No replica answered {op!r} within {waited_s:g} s; check that appia-rag runs.")

    def _begin_round(self, question: _Question) -> None:
        """Take the replicas in a random order; look anew when all those known have failed."""
        if question.refusal is not None:
            raise question.refusal
        if question.rounds:
            time.sleep(_RETRY_S)
        question.untried = self._replicas.entries()
        if question.rounds or not question.untried:
            self._replicas.refresh()
            question.untried = self._replicas.entries()
        self._rng.shuffle(question.untried)
        question.rounds += 1

    def _try_next(self, question: _Question) -> None:
        entry = question.untried.pop()
        connection = self._connections.get(entry.address)
        if connection is None:
            connection = self._connections[entry.address] = RpcClient(self._context, entry.address)
        started = time.monotonic()
        question.next_try = started + self._patience.hedge_s
        left_s = question.until - started
        if left_s > 0:
            request_id = connection.send(question.op, question.args, left_s)
            question.tries.append(_Try(entry, connection, request_id, started))

    def _wait(self, question: _Question) -> None:
        """Block until a replica has something to say, or the next one may be asked, or one has had its time."""
        if not question.tries:
            return
        poller = zmq.Poller()
        for one in question.tries:
            for socket in one.connection.sockets:
                poller.register(socket, zmq.POLLIN)
        until = min(question.until, question.tries[0].started + self._patience.per_try_s)
        if question.untried:
            until = min(until, question.next_try)
        poller.poll(max(int((until - time.monotonic()) * 1000) + 1, 0))

    def _collect(self, question: _Question) -> dict[str, Any] | None:
        """The first answer, if there is one; replicas that are gone or took too long are left out from now on."""
        for one in list(question.tries):
            try:
                for answer in one.connection.receive(one.request_id):
                    return dict(answer)
            except RpcUnreachable:
                self._replicas.report_dead(one.entry)
                question.tries.remove(one)
            except RpcRefused as refusal:
                if refusal.code not in _PASSING:
                    raise
                question.refusal = refusal
                question.tries.remove(one)
            else:
                if time.monotonic() - one.started >= self._patience.per_try_s:
                    self._replicas.report_dead(one.entry)
                    question.tries.remove(one)
        return None

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
