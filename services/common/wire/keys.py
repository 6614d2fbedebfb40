"""Seeds, key rings and the keys derived from them.

A key ring lies in a folder that can be read without code:

    <keys>/wire/ring.json        {"format": 1, "primary": 305419896, "revoked": []}
    <keys>/wire/305419896.seed   32 bytes, as 64 hex characters or raw; mode 0400
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.common.errors import AppiaError, UsageError
from services.common.secret_files import SECRET_MODE, read_secret_file
from services.common.wire.files import create_durably, sync_folder
from services.common.wire.refusals import FrameRefused, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SEED_BYTES = 32
SALT_BYTES = 16
HEX_DIGITS = b"0123456789abcdefABCDEF"
RING_FORMAT = 1
RING_EXAMPLE = '{"format": 1, "primary": KEY_ID, "revoked": []}'

SNIFFER_TO_ML_DETECTOR = "ml-defender:sniffer-to-ml-detector:v1"
ML_DETECTOR_TO_FIREWALL = "ml-defender:ml-detector-to-firewall:v1"
RAG_ARTIFACTS = "ml-defender:rag-artifacts:v1"
ETCD_TX = "ml-defender:etcd:v1:tx"
ETCD_RX = "ml-defender:etcd:v1:rx"
V1_CHANNELS = (SNIFFER_TO_ML_DETECTOR, ML_DETECTOR_TO_FIREWALL, RAG_ARTIFACTS, ETCD_TX, ETCD_RX)
DEFAULT_V1_CHANNEL = ML_DETECTOR_TO_FIREWALL
DEFAULT_V2_CHANNEL = "events"


def check_channel(channel: str) -> str:
    """Give back a channel name that can stand in a key's info string, or raise UsageError.

    The bar is excluded because version 2 separates its info fields with it.
    """
    plain = channel.isascii() and channel.isprintable() and "|" not in channel
    if not plain or not 1 <= len(channel) <= 128:
        raise UsageError(
            f"{channel!r} is no channel name: give 1 to 128 printable ASCII characters without a bar, "
            f"for example {DEFAULT_V1_CHANNEL!r}."
        )
    return channel


def read_seed(path: Path) -> bytes:
    """Read a 32-byte seed from a file of 32 raw bytes or 64 hex characters (white space around is ignored).

    Raises:
        AppiaError: no such file, not a plain file, a mode other than 0400, an owner who is neither this
            user nor root, or other content. The content is never quoted.
    """
    content = read_secret_file(path, 2 * SEED_BYTES + 16)
    text = content.strip()
    in_hex = all(byte in HEX_DIGITS for byte in text)
    # 32 hex characters are half a seed, not 32 raw bytes.
    if len(content) == SEED_BYTES and not in_hex:
        return content
    if len(text) == 2 * SEED_BYTES and in_hex:
        return bytes.fromhex(text.decode("ascii"))
    raise AppiaError(
        f"The key file {path} does not hold a seed: {SEED_BYTES} raw bytes or {2 * SEED_BYTES} hex "
        f"characters are expected; make one with `appia keys new`."
    )


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Seeds by key id: the primary seals and opens, the others only open, the revoked are refused."""

    primary: int
    seeds: Mapping[int, bytes] = field(repr=False)
    revoked: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if self.primary not in self.seeds or self.primary in self.revoked:
            raise AppiaError(
                f"The primary key {self.primary} has no seed in the ring or is revoked: name another."
            )

    def sealing_seed(self) -> bytes:
        """Give the seed of the primary key."""
        return self.seeds[self.primary]

    def opening_seed(self, key_id: int) -> bytes:
        """Give the seed to open a frame with, or raise FrameRefused (revoked_key, unknown_key)."""
        if key_id in self.revoked:
            raise FrameRefused(Reason.REVOKED_KEY, f"key {key_id} is revoked")
        seed = self.seeds.get(key_id)
        if seed is None:
            raise FrameRefused(Reason.UNKNOWN_KEY, f"key {key_id} is not in the ring")
        return seed

    def opening_seeds(self) -> tuple[bytes, ...]:
        """Give every seed that may open, the primary first: version 1 frames name no key."""
        others = [key for key in sorted(self.seeds) if key != self.primary and key not in self.revoked]
        return tuple(self.seeds[key] for key in (self.primary, *others))


def ring_folder(keys: Path) -> Path:
    """Name the folder of the wire key ring inside a keys folder."""
    return keys / "wire"


def read_key_ring(keys: Path) -> KeyRing:
    """Read the key ring of the folder `keys`.

    Raises:
        AppiaError: no ring there, a damaged ring.json, or a seed file that `read_seed` refuses.
    """
    ring_file = ring_folder(keys) / "ring.json"
    try:
        content = ring_file.read_bytes()
    except OSError as error:
        raise AppiaError(
            f"There is no key ring at {ring_file} ({error.strerror}): make one with `appia keys new {keys}`."
        ) from error
    primary, revoked = _parse_ring(ring_file, content)
    seeds = {
        _key_id(path): read_seed(path)
        for path in sorted(ring_file.parent.glob("*.seed"))
        if _key_id(path) not in revoked
    }
    if primary not in seeds or primary in revoked:
        raise AppiaError(
            f"{ring_file} names key {primary} as primary, which is revoked or has no {primary}.seed beside "
            f"it: restore that file or name another key."
        )
    return KeyRing(primary, seeds, revoked)


def _parse_ring(ring_file: Path, content: bytes) -> tuple[int, frozenset[int]]:
    try:
        ring = json.loads(content)
        known = ring["format"] == RING_FORMAT
        ids = [ring["primary"], *ring["revoked"]]
    except (ValueError, TypeError, KeyError) as error:
        raise AppiaError(f"{ring_file} is damaged: it should read {RING_EXAMPLE}.") from error
    if not known or not all(type(key) is int and 0 <= key < 1 << 32 for key in ids):
        raise AppiaError(
            f"{ring_file} is of another format or names a key that is not below 2**32: it should read "
            f"{RING_EXAMPLE}."
        )
    return ids[0], frozenset(ids[1:])


def _key_id(path: Path) -> int:
    if not (path.stem.isascii() and path.stem.isdecimal()) or int(path.stem) >= 1 << 32:
        raise AppiaError(f"{path} is no name for a seed: it is the key id (0 to 4294967295) and `.seed`.")
    return int(path.stem)


def new_key_ring(keys: Path, random: Callable[[int], bytes] = os.urandom) -> KeyRing:
    """Make a key ring of one random key in the folder `keys` (made with mode 0700 where missing).

    The files have mode 0400 and appear all at once; they are synced before this returns.

    Raises:
        UsageError: a ring is there already; nothing is overwritten.
        AppiaError: the folder cannot be written.
    """
    target = ring_folder(keys)
    if target.exists():
        raise UsageError(f"{target} exists and is not overwritten: choose another folder for new keys.")
    key_id, seed = int.from_bytes(random(4), "little"), random(SEED_BYTES)
    ring = {"format": RING_FORMAT, "primary": key_id, "revoked": []}
    try:
        keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".wire-", dir=keys) as staging:
            staged = Path(staging) / target.name
            staged.mkdir(mode=0o700)
            create_durably(staged / f"{key_id}.seed", f"{seed.hex()}\n".encode(), SECRET_MODE)
            create_durably(staged / "ring.json", f"{json.dumps(ring)}\n".encode(), SECRET_MODE)
            sync_folder(staged)
            staged.rename(target)
            sync_folder(keys)
    except OSError as error:
        raise AppiaError(
            f"The key ring could not be written below {keys} ({error.strerror}): check its owner and disk."
        ) from error
    return KeyRing(key_id, {key_id: seed})


def v1_aead(seed: bytes, channel: str) -> ChaCha20Poly1305:
    """Derive the version 1 key of a channel (wire format, version 1)."""
    return _derive(seed, bytes(32), check_channel(channel).encode("ascii"))


def v2_aead(seed: bytes, salt: bytes, info: str) -> ChaCha20Poly1305:
    """Derive a version 2 key; `info` is what `v2_info` gives."""
    return _derive(seed, salt, info.encode("ascii"))


def v2_info(channel: str, direction: str, sender: int, boot: int) -> str:
    """Spell the version 2 info string; sender and boot are decimal."""
    return f"appia:v2|{channel}|{direction}|{sender}|{boot}"


def _derive(seed: bytes, salt: bytes, info: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(SHA256(), length=32, salt=salt, info=info).derive(seed))
