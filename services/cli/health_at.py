"""Finds the running health service and asks it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.common.rpc_client import RpcClient

HEALTH = "health"


class NoHealth(AppiaError):  # noqa: N818 - it says what is the case
    """No health service runs there, or nobody knows where it is."""


@contextlib.contextmanager
def health_of(state: Path) -> Iterator[RpcClient]:
    """A connection to the health service of a state directory, with the credentials of the environment.

    Raises:
        NoHealth: none is registered.
        AppiaError: nothing runs there, the registry does not answer, or a key cannot be used.
    """
    import zmq  # noqa: PLC0415 - `appia --help` starts quicker without it

    from services.cli.running import read_running  # noqa: PLC0415 - as above
    from services.common.access.credentials import Credentials  # noqa: PLC0415 - as above
    from services.common.registry.connect import open_registry, registry_keys_in  # noqa: PLC0415 - as above
    from services.common.rpc_client import RpcClient  # noqa: PLC0415 - as above

    running = read_running(state)
    registry = open_registry(running.registry, state, registry_keys_in(Path(running.keys)))
    with contextlib.closing(registry):
        entries = registry.entries(HEALTH)
    if not entries:
        raise NoHealth(
            f"no health service runs on {state}: `appia up` starts one, unless --no-health is given"
        )
    secured = Credentials.of_environment().secured(entries[0].address, entries[0].info)
    with (
        zmq.Context() as context,
        contextlib.closing(RpcClient(context, entries[0].address, secured)) as client,
    ):
        yield client
