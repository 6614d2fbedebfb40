"""Work that the running ingester does on request: asks for it, shows how it goes, waits for its end."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from services.cli.running import Running
    from services.common.access.credentials import Credentials
    from services.common.registry.port import Info
    from services.common.rpc_client import RpcClient

    Show = Callable[[Mapping[str, Any]], None]

ANSWER_SECONDS = 10.0
POLL_SECONDS = 0.1


@contextlib.contextmanager
def ingester_of(state: Path, credentials: Credentials | None = None) -> Iterator[RpcClient]:
    """A connection to the ingester that runs on a state directory; without credentials those of the environment.

    Raises:
        AppiaError: nothing runs there, or a key cannot be used.
    """
    import zmq  # noqa: PLC0415 - `appia --help` starts quicker without it

    from services.cli.running import read_running  # noqa: PLC0415 - as above
    from services.common.access.credentials import Credentials  # noqa: PLC0415 - as above
    from services.common.rpc_client import RpcClient  # noqa: PLC0415 - as above

    running = read_running(state)
    endpoint, used = running.ingester.control, credentials or Credentials.of_environment()
    asks_registry = used.own is not None and used.server_key is None
    secured = used.secured(endpoint, _registered(running, state) if asks_registry else {})
    with zmq.Context() as context, contextlib.closing(RpcClient(context, endpoint, secured)) as client:
        yield client


def _registered(running: Running, state: Path) -> Info:
    """What the registry says of the ingester that runs there, such as its public key; empty where it does not know."""
    from services.common.registry.connect import open_registry, registry_keys_in  # noqa: PLC0415 - as above

    registry = open_registry(running.registry, state, registry_keys_in(Path(running.keys)))
    with contextlib.closing(registry):
        found = [
            one.info
            for one in registry.entries("ingester")
            if one.info.get("control") == running.ingester.control
        ]
    return next(iter(found), {})


def call(ingester: RpcClient, op: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the ingester; blocks for ten seconds at most.

    Raises:
        UsageError: the question was wrong.
        AppiaError: it was refused, or nobody answers.
    """
    from services.common.rpc_client import RpcRefused  # noqa: PLC0415 - as above

    try:
        answer: dict[str, Any] = ingester.call(op, dict(arguments), ANSWER_SECONDS)
    except RpcRefused as refused:
        if refused.code == "usage":
            raise UsageError(str(refused)) from None
        raise
    return answer


def finish(ingester: RpcClient, op: str, arguments: Mapping[str, Any], show: Show) -> dict[str, Any]:
    """Have a job done and give its last status, which may say that it failed. Blocks until it ends.

    Raises:
        AppiaError: the ingester refuses it, or nobody answers.
    """
    job = call(ingester, op, arguments)["job"]
    while True:
        status = call(ingester, "seal_status", {"job": job})
        if status["state"] in ("done", "failed"):
            return status
        show(status)
        time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def step_shown() -> Iterator[Show]:
    """A function that shows a job's step: on standard error, and only on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _status: None
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody looks
    from rich.progress import Progress  # noqa: PLC0415 - as above

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("waiting", total=None)

        def show(status: Mapping[str, Any]) -> None:
            where = " ".join(filter(None, (status["day"], status["index"])))
            text = f"{where}: {status['step'] or status['state']}"
            bar.update(task, description=text, completed=status["done"], total=status["total"] or None)

        yield show
