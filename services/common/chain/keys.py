"""Signing keys: Ed25519 (RFC 8032), one seed a file, the public half beside it to hand out.

    <keys>/signing/ACTIVE                    the id of the key that signs
    <keys>/signing/3f9a1c0b72d4e815.key      32 bytes as 64 hex characters; mode 0400
    <keys>/signing/3f9a1c0b72d4e815.public   the public key, 64 hex characters

The id is the first 16 hex characters of the SHA-256 of the public key.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.common.errors import AppiaError, UsageError
from services.common.replacing import replace_file
from services.common.secret_files import create_secret_file, make_secret_folder, read_secret_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from services.common.durable import Disk

KEY_BYTES = 32
KEY_ID = re.compile(r"[0-9a-f]{16}")
_KEY = re.compile(rb"[0-9a-f]{64}\s*")
_LONGEST_FILE = 256
_PUBLIC_MODE = 0o444


class PublicKey:
    """Checks signatures. Equal to another of the same bytes."""

    def __init__(self, raw: bytes) -> None:
        """Take the 32 bytes of an Ed25519 public key.

        Raises:
            AppiaError: there are more or fewer.
        """
        if len(raw) != KEY_BYTES:
            raise AppiaError(f"A public key has {KEY_BYTES} bytes, this one has {len(raw)}.")
        self.raw = raw
        self.id = hashlib.sha256(raw).hexdigest()[:16]
        self._key = Ed25519PublicKey.from_public_bytes(raw)

    def signed(self, purpose: str, data: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over `data`, given for `purpose`."""
        try:
            self._key.verify(signature, _message(purpose, data))
        except InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"PublicKey({self.raw.hex()})"


class SigningKey:
    """Signs. Its seed is never shown."""

    def __init__(self, seed: bytes) -> None:
        """Take the 32 bytes of a seed."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, purpose: str, data: bytes) -> bytes:
        """The signature (64 bytes) over `data`, which counts for `purpose` alone, such as `chain:v1`."""
        return self._key.sign(_message(purpose, data))

    def __repr__(self) -> str:
        return f"SigningKey(id={self.public.id})"


def _message(purpose: str, data: bytes) -> bytes:
    """What is signed: the purpose comes first, so that no signature can be shown as one over something else."""
    return b"appia:" + purpose.encode("ascii") + b"\0" + data


@dataclass(frozen=True)
class SigningRing:
    """The key that signs, and those before it, by id."""

    active: SigningKey
    keys: Mapping[str, SigningKey] = field(repr=False)


def signing_folder(keys: Path) -> Path:
    """The folder of the signing keys inside a keys folder."""
    return keys / "signing"


def read_signing_ring(keys: Path) -> SigningRing | None:
    """The signing keys of the folder `keys`; None where there never were any.

    Raises:
        AppiaError: a file is damaged, or others may read it.
    """
    folder = signing_folder(keys)
    try:
        active = (folder / "ACTIVE").read_text("ascii", errors="replace").strip()
    except FileNotFoundError:
        if any(folder.glob("*.key")):
            raise AppiaError(f"{folder} has keys and no file ACTIVE that names one: restore it.") from None
        return None
    ring = {path.stem: _read_seed(path) for path in sorted(folder.glob("*.key"))}
    if active not in ring:
        raise AppiaError(
            f"{folder / 'ACTIVE'} names {active[:40]!r}, and there is no such key beside it: restore it."
        )
    return SigningRing(ring[active], ring)


def _read_seed(path: Path) -> SigningKey:
    content = read_secret_file(path, _LONGEST_FILE)
    if not _KEY.fullmatch(content):
        raise AppiaError(f"{path} does not hold a signing key (64 hex characters): restore it.")
    key = SigningKey(bytes.fromhex(content.decode("ascii").strip()))
    if key.public.id != path.stem:
        raise AppiaError(
            f"{path} holds the key {key.public.id}: it has another name or another content than it had."
        )
    return key


def read_public_key(path: Path) -> PublicKey:
    """The public key in a file, as it lies beside the seed.

    Raises:
        UsageError: there is no such file, or it holds something else.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_FILE)
    except OSError as error:
        raise UsageError(
            f"The public key {path} cannot be read ({error.strerror}): check its name and owner."
        ) from None
    if not _KEY.fullmatch(content):
        raise UsageError(
            f"{path} is no public key: 64 hex characters are expected, as in <keys>/signing/ID.public."
        )
    return PublicKey(bytes.fromhex(content.decode("ascii").strip()))


def public_key_file(keys: Path, key: PublicKey) -> Path:
    """Where the public half of a key lies."""
    return signing_folder(keys) / f"{key.id}.public"


def active_public_key(keys: Path) -> PublicKey | None:
    """The public half of the key that signs; None where the folder has none. Reads no secret. Raises `UsageError`."""
    try:
        active = (signing_folder(keys) / "ACTIVE").read_text("ascii", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not KEY_ID.fullmatch(active):
        raise UsageError(
            f"{signing_folder(keys) / 'ACTIVE'} names {active[:40]!r}, which is no key: restore it."
        )
    return read_public_key(signing_folder(keys) / f"{active}.public")


def new_signing_key(keys: Path, disk: Disk, random: Callable[[int], bytes] = os.urandom) -> SigningKey:
    """Make a key and let it sign from now on; keys before it stay. Durable when this returns; blocks on the disk.

    Raises:
        AppiaError: the folder cannot be written.
    """
    folder = signing_folder(keys)
    seed = random(KEY_BYTES)
    key = SigningKey(seed)
    make_secret_folder(disk, folder)
    create_secret_file(disk, folder / f"{key.public.id}.key", f"{seed.hex()}\n".encode())
    replace_file(disk, public_key_file(keys, key.public), f"{key.public.raw.hex()}\n".encode(), _PUBLIC_MODE)
    # Last, so that a crash leaves a key that does not sign yet, and never a name without its key.
    replace_file(disk, folder / "ACTIVE", f"{key.public.id}\n".encode(), _PUBLIC_MODE)
    return key
