"""Asks whichever replica answers: whom next, who is left out, and when to give up.

The decisions are here, the waiting is not: `Asking.ask` is a generator that yields what it waits for, and one client
blocks for that (client.py) while the other awaits it (async_client.py).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from services.common.access.credentials import Credentials
from services.common.errors import AppiaError
from services.common.registry.port import Entry
from services.common.rpc_client import RpcClient, RpcNoHandshake, RpcRefused, RpcTimeout, RpcUnreachable
from services.rag.protocol import OPERATIONS

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    import zmq

KIND = "rag"
_RETRY_S = 0.1
_SHARE = 0.3
"""Of the time in all, one replica has this at least: who allows a minute does so because the question takes longer."""
_HANDSHAKES = 2
"""A replica that breaks off the handshake so often does not take the keys; once it may have been stopping just then."""
# What another replica may answer better; any other refusal would be the same everywhere. An event that one replica told
# of is not yet at another that is a second behind, and never at one whose copy does not hold that day.
_PASSING = ("unavailable", "internal", "busy", "deadline", "not_found")


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
class Wait:
    """What a question waits for: one of `sockets` to become readable, at most `seconds`."""

    sockets: Sequence[zmq.Socket[bytes]]
    seconds: float


@dataclass(frozen=True)
class Look:
    """A question waits for `Replicas.refresh`, which may block."""


Steps = Generator[Wait | Look, None, dict[str, Any]]


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
    patience: Patience
    on_behalf: str | None = None
    tries: list[_Try] = field(default_factory=list)
    untried: list[Entry] = field(default_factory=list)
    next_try: float = 0.0
    rounds: int = 0
    refusal: AppiaError | None = None
    lost: str = ""  # why the last connection broke, a sentence
    no_handshakes: Counter[str] = field(default_factory=Counter)  # by address


class Asking:
    """One question at a time, over connections that are kept for the next one. For one thread at a time."""

    def __init__(
        self,
        replicas: Replicas,
        context: zmq.Context[zmq.Socket[bytes]],
        patience: Patience,
        rng: random.Random,
        credentials: Credentials | None = None,
    ) -> None:
        """Connect to nobody yet. `rng` decides who is asked first; without `credentials` only this machine is."""
        self.replicas = replicas
        self._context = context
        self._patience = patience
        self._rng = rng
        self._credentials = credentials or Credentials()
        self._connections: dict[tuple[str, str], RpcClient] = {}  # by address and public key

    def ask(
        self,
        op: str,
        args: Mapping[str, Any],
        patience: Patience | None = None,
        on_behalf: str | None = None,
    ) -> Steps:
        """Ask any replica; returns the answer, at the latest after `Patience.overall_s`.

        A gateway asks `on_behalf` of a key by its name, see docs/access.md.

        Raises:
            RpcRefused: the question was refused.
            AppiaError: no replica is known, or none answered in time.
        """
        patience = _patience_for(op, patience or self._patience)
        question = _Question(op, args, time.monotonic() + patience.overall_s, patience, on_behalf)
        while time.monotonic() < question.until:
            if not question.tries and not question.untried:
                yield from self._begin_round(question)
            if question.untried and (not question.tries or time.monotonic() >= question.next_try):
                self._try_next(question)
            if question.tries:
                yield self._wait(question)
            answer = self._collect(question)
            if answer is not None:
                return answer
        if question.refusal is not None:
            raise question.refusal
        why = question.lost or "check that appia-rag runs."
        raise RpcTimeout(f"No replica answered {op!r} within {patience.overall_s:g} s; {why}")

    def _begin_round(self, question: _Question) -> Generator[Wait | Look, None, None]:
        """Take the replicas in a random order; look anew when all those known have failed."""
        if question.refusal is not None:
            raise question.refusal
        if question.rounds:
            yield Wait((), _RETRY_S)
        question.untried = self.replicas.entries()
        if question.rounds or not question.untried:
            yield Look()
            question.untried = self.replicas.entries()
        self._rng.shuffle(question.untried)
        question.rounds += 1

    def _try_next(self, question: _Question) -> None:
        entry = question.untried.pop()
        try:
            connection = self._connection(entry)
        except AppiaError as error:  # another one may be reached
            question.refusal = error
            return
        started = time.monotonic()
        question.next_try = started + question.patience.hedge_s
        # What the replica is told is how long it is waited for: then an answer that is cut short comes in time.
        left_s = min(question.until - started, question.patience.per_try_s)
        if left_s > 0:
            request_id = connection.send(question.op, question.args, left_s, question.on_behalf)
            question.tries.append(_Try(entry, connection, request_id, started))

    def _connection(self, entry: Entry) -> RpcClient:
        """That to a replica; a new one where its address or what the registry says of its key has changed.

        Raises:
            AppiaError: it cannot be made with these credentials.
        """
        secured = self._credentials.secured(entry.address, entry.info)
        name = entry.address, "" if secured is None else secured.server_key
        if name not in self._connections:
            self._connections[name] = RpcClient(self._context, entry.address, secured)
        return self._connections[name]

    def _wait(self, question: _Question) -> Wait:
        """Until a replica has something to say, or the next one may be asked, or one has had its time."""
        until = min(question.until, question.tries[0].started + question.patience.per_try_s)
        if question.untried:
            until = min(until, question.next_try)
        sockets = [socket for one in question.tries for socket in one.connection.sockets]
        return Wait(sockets, max(until - time.monotonic(), 0.0))

    def _collect(self, question: _Question) -> dict[str, Any] | None:
        """The first answer, if there is one; replicas that are gone or took too long are left out from now on."""
        for one in list(question.tries):
            try:
                for answer in one.connection.receive(one.request_id):
                    return dict(answer)
            except RpcUnreachable as error:
                self._note_lost(question, one, error)
            except RpcRefused as refusal:
                if refusal.code not in _PASSING:
                    raise
                question.refusal = refusal
                question.tries.remove(one)
            else:
                if time.monotonic() - one.started >= question.patience.per_try_s:
                    self.replicas.report_dead(one.entry)
                    question.tries.remove(one)
        return None

    def _note_lost(self, question: _Question, one: _Try, error: RpcUnreachable) -> None:
        question.tries.remove(one)
        question.lost = str(error)
        if not isinstance(error, RpcNoHandshake):
            self.replicas.report_dead(one.entry)
            return
        question.no_handshakes[one.entry.address] += 1
        if question.no_handshakes[one.entry.address] >= _HANDSHAKES:
            question.refusal = error

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


def _patience_for(op: str, patience: Patience) -> Patience:
    """A question that may take many seconds is waited for, and not given to a second replica as well."""
    operation = OPERATIONS.get(op)
    if operation is None or not operation.slow:
        return replace(patience, per_try_s=max(patience.per_try_s, _SHARE * patience.overall_s))
    return replace(patience, per_try_s=patience.overall_s, hedge_s=patience.overall_s)
