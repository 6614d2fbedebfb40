"""Finds the running health service and asks it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.cli.running import Running
    from services.common.registry.port import Entry, Registry
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
        entry = health_entry(registry, running)
    if entry is None:
        raise NoHealth(
            f"no health service runs on {state}: `appia up` starts one, unless --no-health is given"
        )
    secured = Credentials.of_environment().secured(entry.address, entry.info)
    with (
        zmq.Context() as context,
        contextlib.closing(RpcClient(context, entry.address, secured)) as client,
    ):
        yield client


def health_entry(registry: Registry, running: Running) -> Entry | None:
    """Where health answers; None where there is none. The stack itself says it while the registry does not.

    The registry may be away; and health cannot renew its entry on a disk without a byte left, of which it has to tell.

    Raises:
        AppiaError: the registry does not answer, and the stack has no health.
    """
    from services.common.registry.port import Entry  # noqa: PLC0415 - `appia --help` starts quicker without it

    own = Entry(HEALTH, HEALTH, running.health) if running.health else None
    try:
        return next(iter(registry.entries(HEALTH)), own)
    except AppiaError:
        if own is None:
            raise
        return own
