"""Values that others act on, sealed: nobody without the key reads, changes, exchanges or renames one.

A sealed value is

    magic "APS1" | key_id u32 | revision u64 | salt[32] | ChaCha20-Poly1305(key, nonce = 12 zero bytes,
        aad = all before || name, u32_le size || lz4_block)
    key = HKDF-SHA256(ikm = seed[key_id], salt, info = "appia:sealed-value:v1")

in little endian. The salt is random, so each value has a key of its own and the nonce never repeats under one. The name
is authenticated and not stored: a value copied to another name does not open. So is the revision, which a reader
holds against the highest that it has seen (`SeenRevisions`).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import lz4.block

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MAGIC = b"APS1"
SEED_BYTES = 32
SALT_BYTES = 32
MAX_PLAIN_BYTES = 256 * 1024
MAX_SEALED_BYTES = MAX_PLAIN_BYTES + 8 * 1024
MAX_REVISION = (1 << 63) - 1
MAX_SEALING_KEYS = 16

_HEAD = struct.Struct(f"<4sIQ{SALT_BYTES}s")
_SIZE = struct.Struct("<I")
_NONCE = bytes(12)
_TAG_BYTES = 16
_PRIMARY = "seals"
_INFO = b"appia:sealed-value:v1"
# An LZ4 block cannot grow by more than this ratio, plus what its last literals may add: see docs/wire-format.md.
_LZ4_LARGEST_RATIO, _LZ4_SLACK_BYTES = 255, 16


class NotOpened(AppiaError):  # noqa: N818 - it names what did not happen
    """A sealed value does not open: foreign, damaged, moved from another name, or sealed with an unknown key."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What was sealed, and the number that its writer gave this state of it."""

    revision: int
    plain: bytes


@dataclass(frozen=True, slots=True)
class Seals:
    """Keys by id: the primary seals and opens, the others only open. Safe for several threads."""

    primary: int
    seeds: Mapping[int, bytes] = field(repr=False)
    random: Callable[[int], bytes] = field(default=os.urandom, repr=False)

    def __post_init__(self) -> None:
        if self.primary not in self.seeds:
            raise ValueError("the primary key is not among the keys")

    def seal(self, name: str, revision: int, plain: bytes) -> bytes:
        """Seal `plain` as the state `revision` of the value `name`.

        Raises:
            AppiaError: `plain` is empty or has more than 256 KiB, or the revision is not of 0 to 2**63 - 1.
        """
        if not 0 < len(plain) <= MAX_PLAIN_BYTES:
            raise AppiaError(
                f"The value {name} has {len(plain)} bytes; 1 to {MAX_PLAIN_BYTES} can be sealed."
            )
        if not 0 <= revision <= MAX_REVISION:
            raise AppiaError(f"The revision {revision} of {name} is not of 0 to {MAX_REVISION}.")
        head = _HEAD.pack(MAGIC, self.primary, revision, salt := self.random(SALT_BYTES))
        block: bytes = lz4.block.compress(plain, store_size=False)
        sealed = _aead(self.seeds[self.primary], salt).encrypt(
            _NONCE, _SIZE.pack(len(plain)) + block, head + name.encode()
        )
        return head + sealed

    def open(self, name: str, sealed: bytes) -> Opened:
        """Give back what was sealed under `name`. Nothing is decompressed before it is authenticated.

        Raises:
            NotOpened: it is not a sealed value of that name, or none of these keys sealed it.
        """
        if not _HEAD.size + _SIZE.size + 1 + _TAG_BYTES <= len(sealed) <= MAX_SEALED_BYTES:
            raise NotOpened(f"{name} is not a sealed value: it has {len(sealed)} bytes.")
        magic, key_id, revision, salt = _HEAD.unpack_from(sealed)
        if magic != MAGIC:
            raise NotOpened(
                f"{name} is not a sealed value; it may have been put by hand, or before there was a key."
            )
        seed = self.seeds.get(key_id)
        if seed is None:
            raise NotOpened(f"{name} is sealed with key {key_id}, which is not among the keys here.")
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as in `_aead`

        try:
            plain = _aead(seed, salt).decrypt(
                _NONCE, sealed[_HEAD.size :], sealed[: _HEAD.size] + name.encode()
            )
        except InvalidTag:
            raise NotOpened(f"{name} does not open: it was changed, or copied from another name.") from None
        return Opened(revision, _decompress(name, plain))


class SeenRevisions:
    """The highest revision that a reader has seen of each value, so that an old one cannot be put back unnoticed.

    It holds for as long as the object lives: who has never seen the newer one cannot know of it. Not safe for several
    threads.
    """

    def __init__(self, known: Mapping[str, int] | None = None) -> None:
        self._highest: dict[str, int] = dict(known or {})

    def check(self, name: str, revision: int) -> None:
        """Take note of `revision`.

        Raises:
            NotOpened: a higher one was seen before.
        """
        highest = self._highest.get(name, 0)
        if revision < highest:
            raise NotOpened(
                f"{name} was set back from revision {highest} to {revision}: an old value was put in its place."
            )
        self._highest[name] = revision

    def highest(self, name: str) -> int:
        """The highest revision seen of a value; 0 where none was."""
        return self._highest.get(name, 0)


def parse_seals(text: bytes) -> Seals | None:
    """Read lines of `KEY_ID SEED`, the oldest first, the seed as 64 hex characters; None where they are not sound.

    The one line that ends in ` seals` is the primary.
    """
    seeds: dict[int, bytes] = {}
    primaries = []
    try:
        for line in text.decode("ascii").splitlines():
            key_id, seed, *seals = line.split()
            number, content = int(key_id), bytes.fromhex(seed)
            sound = 0 <= number < 1 << 32 and len(content) == SEED_BYTES and seals in ([], [_PRIMARY])
            if not sound or number in seeds:
                return None
            seeds[number] = content
            primaries += [number] * len(seals)
    except ValueError:
        return None
    if len(primaries) != 1 or len(seeds) > MAX_SEALING_KEYS:
        return None
    return Seals(primaries[0], seeds)


def spell_seals(seals: Seals) -> bytes:
    """Write what `parse_seals` reads, in the order of the keys."""
    lines = (
        f"{key_id} {seed.hex()}{f' {_PRIMARY}' if key_id == seals.primary else ''}\n"
        for key_id, seed in seals.seeds.items()
    )
    return "".join(lines).encode()


def _aead(seed: bytes, salt: bytes) -> ChaCha20Poly1305:
    """What seals and opens one value. Who has no keys pays not for cryptography, which is 7 MB."""
    from services.common.hkdf import derived_aead  # noqa: PLC0415 - see above

    return derived_aead(seed, _INFO, salt)


def _decompress(name: str, plain: bytes) -> bytes:
    """Memory is reserved only after the claimed size was held against the limits."""
    (size,), block = _SIZE.unpack_from(plain), plain[_SIZE.size :]
    if not 0 < size <= min(MAX_PLAIN_BYTES, _LZ4_LARGEST_RATIO * len(block) + _LZ4_SLACK_BYTES):
        raise NotOpened(f"{name} claims {size} bytes, which its {len(block)} compressed ones cannot hold.")
    try:
        content: bytes = lz4.block.decompress(block, uncompressed_size=size)
    except lz4.block.LZ4BlockError:
        raise NotOpened(f"{name} is sealed, and does not hold an LZ4 block of {size} bytes.") from None
    if len(content) != size:  # python-lz4 returns a short result without a word
        raise NotOpened(f"{name} is sealed, claims {size} bytes and holds {len(content)}.")
    return content
