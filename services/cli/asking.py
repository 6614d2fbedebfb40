"""Finds the replicas and asks them: what the questions of the command line have in common."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from services.cli.filters import in_options
from services.cli.options import required_state
from services.cli.output import say
from services.cli.running import read_running
from services.cli.waiting import waiting_shown
from services.common.access.credentials import Credentials
from services.common.errors import UsageError
from services.common.registry.connect import open_registry, registry_keys_in
from services.common.registry.known import KnownSet
from services.common.rpc_client import RpcRefused
from services.rag.client import KIND, Client, FixedReplicas, Patience
from services.rag.connect import Where
from services.rag.protocol import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.cli.ask import Asking, Whom
    from services.rag.client import Replicas


def ask(asking: Asking, op: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Ask any replica; blocks for at most `asking.timeout` seconds beside the registry.

    Raises:
        UsageError: the question was wrong.
        AppiaError: nothing runs, nobody answers, or what was asked for is not there.
    """
    replicas = replicas_for(asking)
    patience = Patience(overall_s=asking.timeout)
    waiting = (
        waiting_shown(f"{op}: looking through the days", asking.timeout)
        if OPERATIONS[op].slow
        else contextlib.nullcontext()
    )
    credentials = Credentials.read(asking.key, asking.server_key)
    with (
        zmq.Context() as context,
        Client(replicas, context, patience, credentials=credentials) as client,
        waiting,
    ):
        try:
            return client.ask(op, {**arguments, **_shared(asking, op)})
        except RpcRefused as refused:
            if refused.code == "usage":
                raise UsageError(in_options(str(refused))) from None
            raise


def _shared(asking: Asking, op: str) -> dict[str, Any]:
    """What shared options add to the arguments of an operation, as far as it takes them."""
    taken = {argument.name for argument in OPERATIONS[op].arguments}
    return {name: value for name, value in asking.arguments().items() if name in taken}


def replicas_for(asking: Whom) -> Replicas:
    """Who may be asked: those at given endpoints, else those that are registered. Blocks for the registry.

    Raises:
        UsageError: the state directory is needed and not given.
        AppiaError: nothing runs there, or the registry does not answer.
    """
    if asking.endpoint:
        return FixedReplicas(asking.endpoint)
    if asking.registry is not None:
        state = required_state(asking.state) if asking.registry == "file" else asking.state
        return _doubted(Where(state, asking.registry, registry_keys=asking.registry_keys).replicas())
    state = required_state(asking.state)
    running = read_running(state)
    keys = asking.registry_keys or registry_keys_in(Path(running.keys))
    known = KnownSet(open_registry(running.registry, state, keys), KIND)
    # Questions are answered while the registry is away: the replicas of this machine are known without it.
    if not known.refresh():
        return FixedReplicas([replica.endpoint for replica in running.replicas])
    return _doubted(known)


def _doubted(replicas: Replicas) -> Replicas:
    """The same replicas, after saying which registered ones are not believed."""
    for fault in replicas.faults() if isinstance(replicas, KnownSet) else ():
        say(f"a replica was left out: {fault}")
    return replicas
