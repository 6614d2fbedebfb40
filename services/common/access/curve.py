"""CURVE key pairs in files, and sockets that use them (https://rfc.zeromq.org/spec/26/).

A key file holds the secret key: 40 characters of Z85 and a line feed, mode 0400. The public key is computed from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import zmq
from zmq.utils import z85

from services.common.errors import AppiaError, UsageError
from services.common.replacing import replace_file
from services.common.secret_files import create_secret_file, make_secret_folder, read_secret_file

if TYPE_CHECKING:
    from services.common.durable import Disk

Z85_CHARS, KEY_BYTES = 40, 32
HANDSHAKE_MS = 3_000
PUBLIC_SUFFIX = ".public"
_MOST_OF_A_KEY = 100


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair, each 40 characters of Z85."""

    public: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        """One that nobody had before."""
        public, secret = zmq.curve_keypair()
        return cls(public.decode(), secret.decode())

    @classmethod
    def read(cls, path: Path) -> Self:
        """That of a key file; blocks on the disk.

        Raises:
            UsageError: the file is the public half by its name.
            AppiaError: the file cannot be read, others may read it, or it holds no key. It is never quoted.
        """
        if path.suffix == PUBLIC_SUFFIX:
            raise UsageError(
                f"{path} is a public key by its name: name the file of the secret one, {path.with_suffix('.secret')}."
            )
        text = read_secret_file(path, Z85_CHARS + 2).strip()
        try:
            return cls(zmq.curve_public(text).decode(), text.decode("ascii"))
        except (zmq.ZMQError, ValueError):
            raise AppiaError(
                f"The key file {path} holds no CURVE key: {Z85_CHARS} characters of Z85 are expected; make one with "
                "`appia access new` or `appia keys server`."
            ) from None

    def write(self, disk: Disk, path: Path) -> None:
        """Make the key file `path`. Raises as `create_secret_file`."""
        create_secret_file(disk, path, f"{self.secret}\n".encode())


def make_server_key(disk: Disk, keys: Path) -> tuple[Path, str]:
    """Make the key of a server in the folder `keys`: `access/server.secret`, and the public part beside it.

    Returns:
        The key file, and the public key (Z85).

    Raises:
        UsageError: there is one already; it is never overwritten.
        AppiaError: the folder cannot be written.
    """
    folder = keys / "access"
    pair, path = KeyPair.new(), folder / "server.secret"
    make_secret_folder(disk, folder)
    pair.write(disk, path)
    replace_file(disk, folder / f"server{PUBLIC_SUFFIX}", f"{pair.public}\n".encode())
    return path, pair.public


def check_public_key(text: str) -> str:
    """Give back a CURVE public key.

    Raises:
        UsageError: it is none.
    """
    try:
        if len(z85.decode(text)) == KEY_BYTES:
            return text
    except (ValueError, KeyError, TypeError):
        pass
    raise UsageError(f"{text[:60]!r} is no CURVE public key: {Z85_CHARS} characters of Z85 are expected.")


def read_public_key(text: str) -> str:
    """A CURVE public key as it is given: the key itself, or the name of a file that holds it.

    Raises:
        UsageError: it is neither.
    """
    try:
        return check_public_key(text)
    except UsageError:
        try:
            with Path(text).open("rb") as file:
                return check_public_key(file.read(_MOST_OF_A_KEY).decode("ascii", "replace").strip())
        except (OSError, ValueError):
            raise UsageError(
                f"{text[:60]!r} is neither a CURVE public key nor a file that holds one: give the "
                f"{Z85_CHARS} characters that `appia keys server` printed, or the file server.public."
            ) from None


@dataclass(frozen=True)
class Secured:
    """An encrypted connection: the keys of who asks, and the public key (Z85) of who is to answer."""

    own: KeyPair
    server_key: str

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Let a socket that is not connected yet speak only with the server that has the key."""
        socket.setsockopt(zmq.CURVE_SERVERKEY, self.server_key.encode("ascii"))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.own.public.encode("ascii"))
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.own.secret.encode("ascii"))
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
