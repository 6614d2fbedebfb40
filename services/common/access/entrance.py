"""Who gets into a server, built from its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.access.book import AccessBook
from services.common.access.curve import KeyPair
from services.common.access.door import Door
from services.common.access.gate import Gate
from services.common.access.refusals import Refusals
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import zmq
    from structlog.typing import FilteringBoundLogger


PUBLIC_KEY = "public_key"
"""The fact of a registry entry that holds its CURVE public key, Z85."""


@dataclass(frozen=True)
class Entrance:
    """The gate of a server that asks for each request, and the door before it; None on plain text."""

    gate: Gate
    door: Door | None = None
    public_key: str = ""  # of the server, Z85; empty on plain text

    @property
    def facts(self) -> Mapping[str, str]:
        """What clients are told through the registry."""
        return {PUBLIC_KEY: self.public_key} if self.public_key else {}


@dataclass(frozen=True)
class AccessFiles:
    """What the settings of a server name."""

    server_key: Path | None = None
    access: Path | None = None


def check_access_files(files: AccessFiles) -> None:
    """Check what settings name, without reading it.

    Raises:
        UsageError: there is a server key and no access file.
    """
    if files.server_key is not None and files.access is None:
        raise UsageError(
            "The setting server_key needs the setting access, the file that says which keys may ask: make one with "
            "`appia access new`."
        )


def open_entrance(
    context: zmq.Context[zmq.Socket[bytes]], files: AccessFiles, log: FilteringBoundLogger, prefix: str = ""
) -> Entrance:
    """Read the files; without a server key everybody on loopback may ask. `prefix` is that of `Gate`. Blocks.

    An access file without a server key says on whose behalf a gateway on this machine may ask.

    Raises:
        UsageError: there is a server key and no access file.
        AppiaError: a file cannot be used.
    """
    check_access_files(files)
    refusals = Refusals(log)
    book = None if files.access is None else AccessBook(files.access, log)
    gate = Gate(refusals, book, prefix)
    if files.server_key is None or book is None:
        return Entrance(gate)
    pair = KeyPair.read(files.server_key)
    return Entrance(gate, Door(context, pair, book, refusals), pair.public)
