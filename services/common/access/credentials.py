"""What a client needs for an encrypted connection: its own key, and the public keys of those it asks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.access.curve import (
    Z85_CHARS,
    KeyPair,
    Secured,
    check_public_key,
    read_public_key,
)
from services.common.access.entrance import PUBLIC_KEY
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.registry.port import Info

_ONLY_IN_KEYS = frozenset(":+=^!*?&<>()[]{}@%$#")
"""Characters of Z85 that names of files rarely have, and a key nearly always: one in 25,000 has none."""

KEY_VARIABLE = "APPIA_KEY"
SERVER_KEY_VARIABLE = "APPIA_SERVER_KEY"


@dataclass(frozen=True)
class Credentials:
    """The key pair of who asks, and the public key (Z85) that every server must have; None where none is given.

    A server key that is given wins over what the registry says, so that who can write the registry can lead nobody
    to another server.
    """

    own: KeyPair | None = None
    server_key: str | None = None

    @classmethod
    def read(cls, key: Path | None, server_key: str | None) -> Credentials:
        """From a key file, and a public key or the name of a file that holds it. Blocks on the disk.

        Raises:
            UsageError: a public key is given and no key file, or it is neither a key nor a file; or the key itself is
                given where the name of its file belongs. It is not quoted.
            AppiaError: a file cannot be used.
        """
        if server_key is not None and key is None:
            raise UsageError(
                "A server's public key is of no use without a key of your own: give --key FILE too."
            )
        if key is not None and _is_a_key(key):
            raise UsageError(
                "A key is given by the name of its file (--key FILE), and never itself: others may see it there. Take "
                "it for known, and have a new one made with `appia access new`."
            )
        return cls(
            None if key is None else KeyPair.read(key),
            None if server_key is None else read_public_key(server_key),
        )

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] = os.environ) -> Credentials:
        """What `APPIA_KEY` and `APPIA_SERVER_KEY` name. Blocks and raises as `read`."""
        key, server_key = environ.get(KEY_VARIABLE), environ.get(SERVER_KEY_VARIABLE)
        return cls.read(Path(key) if key else None, server_key or None)

    def secured(self, endpoint: str, info: Info) -> Secured | None:
        """How to connect to a server that the registry says `info` about; None for plain text, on loopback only.

        Raises:
            UsageError: the server has a key and there is no own one, or what the registry says is no key.
        """
        told = self.server_key or str(info.get(PUBLIC_KEY, ""))
        if not told:
            return None
        if self.own is None:
            raise UsageError(
                f"{endpoint} answers known keys only: give --key FILE, a key that `appia access new` made there."
            )
        return Secured(self.own, check_public_key(told))


def _is_a_key(path: Path) -> bool:
    """Whether somebody gave the key, and not the name of its file."""
    text = str(path)
    # Two slashes in a row are one in a path.
    return (
        Z85_CHARS - 4 <= len(text) <= Z85_CHARS and not _ONLY_IN_KEYS.isdisjoint(text) and not path.exists()
    )
