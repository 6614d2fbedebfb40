"""Asks replicas from many clients at once: each has a connection of its own, and one question under way at any time."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import zmq

from benchmarks.common import BenchError
from services.common.rpc_client import RpcClient, RpcRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PATIENCE_S = 60
_WARM_S = 1.0


@dataclass(frozen=True)
class Load:
    """What came of it: answers a second, and milliseconds of each answer."""

    per_s: float
    times_ms: list[float]


@dataclass
class _Caller:
    connection: RpcClient
    request_id: int = 0
    asked: float = 0.0


def ask_side_by_side(
    endpoints: Sequence[str], clients: int, questions: Sequence[tuple[str, Mapping[str, Any]]], seconds: float
) -> Load:
    """Let `clients` ask the questions in turn for some seconds, after one second that is not counted; blocks.

    All clients live in this one process, which costs some 0.1 ms of a core for each answer.

    Raises:
        BenchError: a question was refused, or nobody answered.
    """
    with zmq.Context() as context:
        callers = [_Caller(RpcClient(context, endpoints[n % len(endpoints)])) for n in range(clients)]
        try:
            return _run(callers, itertools.cycle(questions), seconds)
        except RpcRefused as refused:
            raise BenchError(f"a question was refused: {refused}") from None
        finally:
            for caller in callers:
                caller.connection.close()


def _run(callers: Sequence[_Caller], questions: itertools.cycle[Any], seconds: float) -> Load:
    poller = zmq.Poller()
    of_socket = {}
    for caller in callers:
        poller.register(caller.connection.socket, zmq.POLLIN)
        of_socket[caller.connection.socket] = caller
        _ask(caller, questions)
    begin = time.perf_counter() + _WARM_S
    times: list[float] = []
    while (now := time.perf_counter()) < begin + seconds:
        ready = poller.poll(PATIENCE_S * 1000)
        if not ready:
            raise BenchError(f"nobody answered for {PATIENCE_S} s")
        for socket, _ in ready:
            caller = of_socket[socket]
            if caller.connection.receive(caller.request_id):
                now = time.perf_counter()
                if now >= begin:
                    times.append((now - caller.asked) * 1000)
                _ask(caller, questions)
    return Load(len(times) / (now - begin), times)


def _ask(caller: _Caller, questions: itertools.cycle[Any]) -> None:
    op, args = next(questions)
    caller.asked = time.perf_counter()
    caller.request_id = caller.connection.send(op, args, PATIENCE_S)
