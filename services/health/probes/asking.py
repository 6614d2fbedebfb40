"""Asks several services the same thing at the same time, so that one that hangs delays no other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import zmq

from services.common.access.entrance import PUBLIC_KEY
from services.common.errors import AppiaError
from services.common.rpc_client import RpcClient, RpcRefused, RpcTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.common.access.credentials import Credentials

KEPT = 256
"""Connections; services that went away leave theirs behind until there are so many."""
AT_ONCE = 128
"""Services that are asked at the same time; more than are kept must not be, each has a connection."""


@dataclass(frozen=True)
class Target:
    """Where a service answers, and the public key (Z85) that it has; empty for none."""

    address: str
    public_key: str = ""


@dataclass(frozen=True)
class Answer:
    """What became of a question.

    Attributes:
        value: the answer; None where there is none.
        why: the reason, one sentence; empty with an answer.
        alive: whether somebody answered, also with a refusal; None where the question could not be put.
        asked_ns, heard_ns: by this machine's clock, nanoseconds since 1970.
    """

    value: Mapping[str, Any] | None
    why: str = ""
    alive: bool | None = True
    asked_ns: int = 0
    heard_ns: int = 0


@dataclass(frozen=True)
class Pending:
    """A question that was put and is not answered; nobody waits for it after `until_s` of the monotonic clock."""

    connection: RpcClient
    request: int
    at_ns: int
    until_s: float


class Asker:
    """Connections to services, kept from one question to the next. For one thread."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        credentials: Credentials,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Connect to nobody yet; `clock` gives nanoseconds since 1970."""
        self._context = context
        self._credentials = credentials
        self._clock = clock
        self._connections: dict[Target, RpcClient] = {}

    def ask(self, target: Target, op: str, args: Mapping[str, Any], timeout_s: float) -> Answer:
        """Ask one service. Blocks for `timeout_s` at most; never raises for the other side."""
        return self.ask_all({"": target}, op, args, timeout_s)[""]

    def ask_all(
        self, targets: Mapping[str, Target], op: str, args: Mapping[str, Any], timeout_s: float
    ) -> dict[str, Answer]:
        """Ask several services; gives an answer for each. Blocks for `timeout_s` at most for each `AT_ONCE` of them."""
        answers: dict[str, Answer] = {}
        names = list(targets)
        for first in range(0, len(names), AT_ONCE):
            together = {name: targets[name] for name in names[first : first + AT_ONCE]}
            answers |= self._ask_together(together, op, args, timeout_s)
        return answers

    def _ask_together(
        self, targets: Mapping[str, Target], op: str, args: Mapping[str, Any], timeout_s: float
    ) -> dict[str, Answer]:
        answers: dict[str, Answer] = {}
        asked: dict[str, Pending] = {}
        for name, target in targets.items():
            try:
                asked[name] = self.begin(target, op, args, timeout_s)
            except AppiaError as error:
                answers[name] = Answer(None, str(error), alive=None)
        while asked:
            self._wait(asked)
            heard = {name: answer for name, one in asked.items() if (answer := self.heard(one)) is not None}
            answers.update(heard)
            asked = {name: one for name, one in asked.items() if name not in heard}
        return answers

    def begin(self, target: Target, op: str, args: Mapping[str, Any], timeout_s: float) -> Pending:
        """Put a question and wait for nothing; ask the same service nothing else before it is answered.

        Raises:
            AppiaError: no connection can be made.
        """
        connection = self._connection(target)
        at_ns, until_s = self._clock(), time.monotonic() + timeout_s
        return Pending(connection, connection.send(op, args, timeout_s), at_ns, until_s)

    def heard(self, asked: Pending) -> Answer | None:
        """The answer to a question, or why there is none; None while there may still be one. Does not block."""
        try:
            found = asked.connection.receive(asked.request)
        except RpcRefused as refused:
            return Answer(None, str(refused), alive=True)
        except RpcTimeout as error:
            return Answer(None, str(error), alive=False)
        if found:
            return _answer(found[0], asked, self._clock())
        if time.monotonic() < asked.until_s:
            return None
        return Answer(None, f"{asked.connection.endpoint} did not answer in time.", alive=False)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    @staticmethod
    def _wait(asked: Mapping[str, Pending]) -> None:
        """Block until one of them may have been answered, or need not be waited for any more."""
        poller = zmq.Poller()
        for one in asked.values():
            for socket in one.connection.sockets:
                poller.register(socket, zmq.POLLIN)
        left_s = min(one.until_s for one in asked.values()) - time.monotonic()
        poller.poll(max(int(left_s * 1000) + 1, 0))

    def _connection(self, target: Target) -> RpcClient:
        known = self._connections.pop(target, None)
        if known is None:
            if len(self._connections) >= KEPT:
                self._connections.pop(next(iter(self._connections))).close()
            secured = self._credentials.secured(target.address, {PUBLIC_KEY: target.public_key})
            known = RpcClient(self._context, target.address, secured)
        self._connections[target] = known  # those that were used last are at the end
        return known


def _answer(value: Any, asked: Pending, heard_ns: int) -> Answer:
    if isinstance(value, dict):
        return Answer(value, asked_ns=asked.at_ns, heard_ns=heard_ns)
    return Answer(None, f"{asked.connection.endpoint} gave an answer that is none.")
