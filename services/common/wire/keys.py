"""Seeds, key rings and the keys derived from them.

A key ring lies in a folder that can be read without code:

    <keys>/wire/ring.json        {"format": 1, "primary": 305419896, "revoked": []}
    <keys>/wire/305419896.seed   32 bytes, as 64 hex characters or raw; mode 0400
    <keys>/wire/v1/NODE.seed     the seed of one version 1 sensor; NODE is its node id, percent-encoded

`ring_changes` rotates and revokes, `ring_watch` follows the folder while a service runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.hkdf import derive, derived_aead
from services.common.secret_files import SECRET_FOLDER_MODE, create_secret_file, read_secret_file
from services.common.wire.refusals import FrameRefused, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

SEED_BYTES = 32
SALT_BYTES = 16
HEX_DIGITS = b"0123456789abcdefABCDEF"
RING_FORMAT = 1
RING_NAME = "ring.json"
LONGEST_RING = 1 << 16
NODE_CHARS = 128
MAX_NODE_SEEDS = 256
"""Seeds of single sensors: each one more is one more trial for a frame that nobody is known to have sent."""
STATE_KEYS = "keys"
"""Where the keys folder of a state directory lies."""
RING_EXAMPLE = '{"format": 1, "primary": KEY_ID, "revoked": []}'

SNIFFER_TO_ML_DETECTOR = "ml-defender:sniffer-to-ml-detector:v1"
ML_DETECTOR_TO_FIREWALL = "ml-defender:ml-detector-to-firewall:v1"
RAG_ARTIFACTS = "ml-defender:rag-artifacts:v1"
FIREWALL_DECISIONS = "appia:firewall-decisions:v1"
"""Ours: the contract has batches of decisions, and no channel that they travel on."""
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
    """Seeds by key id: the primary seals and opens, the others only open, the revoked are refused.

    `nodes` are the seeds of single version 1 sensors, by node id.
    """

    primary: int
    seeds: Mapping[int, bytes] = field(repr=False)
    revoked: frozenset[int] = frozenset()
    nodes: Mapping[str, bytes] = field(default_factory=dict, repr=False)

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
            raise FrameRefused(
                Reason.REVOKED_KEY, f"key {key_id} is revoked: its sender needs the key ring as it is now"
            )
        seed = self.seeds.get(key_id)
        if seed is None:
            raise FrameRefused(Reason.UNKNOWN_KEY, f"key {key_id} is not in the ring")
        return seed

    def opening_ids(self) -> tuple[int, ...]:
        """Give the id of every key that may open, the primary first."""
        others = [key for key in sorted(self.seeds) if key != self.primary and key not in self.revoked]
        return (self.primary, *others)

    def opening_seeds(self) -> tuple[bytes, ...]:
        """Give every seed that many may share, the primary first: version 1 frames name no key."""
        return tuple(self.seeds[key] for key in self.opening_ids())

    def facts(self) -> dict[str, Any]:
        """What a log may say about this ring: ids, never seeds."""
        return {
            "primary": self.primary,
            "opening": list(self.opening_ids()),
            "revoked": sorted(self.revoked),
            "nodes": sorted(self.nodes),
        }


def ring_folder(keys: Path) -> Path:
    """Name the folder of the wire key ring inside a keys folder."""
    return keys / "wire"


def node_folder(keys: Path) -> Path:
    """Name the folder of the seeds of single version 1 sensors inside a keys folder."""
    return ring_folder(keys) / "v1"


def seed_file(keys: Path, key_id: int) -> Path:
    """Name the file of a seed."""
    return ring_folder(keys) / f"{key_id}.seed"


def node_seed_file(keys: Path, node: str) -> Path:
    """Name the file of one sensor's seed; raise UsageError for a node id that has none."""
    if not 1 <= len(node) <= NODE_CHARS or not node.isprintable():
        raise UsageError(f"{node[:NODE_CHARS]!r} is no node id: give 1 to {NODE_CHARS} printable characters.")
    # The dot, which `quote` keeps, must not make a hidden file.
    return node_folder(keys) / f"{quote(node, safe='').replace('.', '%2E')}.seed"


def read_key_ring(keys: Path) -> KeyRing:
    """Read the key ring of the folder `keys`.

    Raises:
        AppiaError: no ring there, a damaged ring.json or one that others may change, or a seed file that
            `read_seed` refuses.
    """
    ring_file = ring_folder(keys) / RING_NAME
    primary, revoked = _parse_ring(ring_file, _read_ring_file(ring_file, keys))
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
    return KeyRing(primary, seeds, revoked, _read_nodes(keys))


def _read_ring_file(ring_file: Path, keys: Path) -> bytes:
    try:
        with ring_file.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(LONGEST_RING + 1)
    except OSError as error:
        inner = keys / STATE_KEYS
        known = (inner / ring_file.relative_to(keys)).exists()
        what = f"name the folder {inner}" if known else f"make one with `appia keys new {keys}`"
        raise AppiaError(f"There is no key ring at {ring_file} ({error.strerror}): {what}.") from error
    # It is no secret, but who may change it decides which keys are taken.
    if stat.S_IMODE(status.st_mode) & 0o022 or status.st_uid not in (os.geteuid(), 0):
        raise AppiaError(
            f"{ring_file} can be changed by others (mode {stat.S_IMODE(status.st_mode):04o}, user "
            f"{status.st_uid}): run `chmod 0400 {ring_file}` and `chown {os.geteuid()} {ring_file}`."
        )
    return content


def _read_nodes(keys: Path) -> dict[str, bytes]:
    try:
        # Not by glob: a folder that cannot be read must not pass for one without seeds.
        paths = sorted(path for path in node_folder(keys).iterdir() if path.suffix == ".seed")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise AppiaError(
            f"{node_folder(keys)} could not be read ({error.strerror}): check its owner and mode."
        ) from error
    if len(paths) > MAX_NODE_SEEDS:
        raise AppiaError(
            f"{node_folder(keys)} has {len(paths)} seeds, at most {MAX_NODE_SEEDS} are tried: let sensors share "
            f"one, or give some of them to another ingester."
        )
    return {_node(keys, path): read_seed(path) for path in paths}


def _node(keys: Path, path: Path) -> str:
    node = unquote(path.stem)
    try:
        known = node_seed_file(keys, node) == path
    except UsageError:
        known = False
    if not known:
        raise AppiaError(
            f"{path} is no name for a sensor's seed: it is the node id, percent-encoded, and `.seed`; "
            f"`appia keys sensor` makes it."
        )
    return node


def ring_bytes(primary: int, revoked: frozenset[int]) -> bytes:
    """Give the content of ring.json."""
    ring = {"format": RING_FORMAT, "primary": primary, "revoked": sorted(revoked)}
    return f"{json.dumps(ring)}\n".encode()


def _parse_ring(ring_file: Path, content: bytes) -> tuple[int, frozenset[int]]:
    try:
        ring = json.loads(content)
        known = ring["format"] == RING_FORMAT
        ids = [ring["primary"], *ring["revoked"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
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


def new_key_ring(
    keys: Path, random: Callable[[int], bytes] = os.urandom, disk: Disk | None = None
) -> KeyRing:
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
    disk = disk or Disk()
    staged = keys / f".{target.name}.{os.getpid()}.new"
    try:
        disk.make_folder(keys, SECRET_FOLDER_MODE)
        disk.remove(staged)
        disk.make_folder(staged, SECRET_FOLDER_MODE)
        create_secret_file(disk, staged / f"{key_id}.seed", f"{seed.hex()}\n".encode())
        create_secret_file(disk, staged / RING_NAME, ring_bytes(key_id, frozenset()))
        disk.rename(staged, target)
    except OSError as error:
        raise AppiaError(
            f"The key ring could not be written below {keys} ({error.strerror}): check its owner and disk."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            disk.remove(staged)
    return KeyRing(key_id, {key_id: seed})


def v1_aead(seed: bytes, channel: str) -> ChaCha20Poly1305:
    """Derive the version 1 key of a channel (wire format, version 1)."""
    return derived_aead(seed, check_channel(channel).encode("ascii"), bytes(32))


def v1_mark(seed: bytes, channel: str) -> bytes:
    """Give 8 bytes that stand for a seed and a channel where frames are remembered; they tell nothing about it."""
    info = f"appia:v1-mark|{check_channel(channel)}".encode("ascii")
    return derive(seed, info, bytes(32), length=8)


def v2_aead(seed: bytes, salt: bytes, info: str) -> ChaCha20Poly1305:
    """Derive a version 2 key; `info` is what `v2_info` gives."""
    return derived_aead(seed, info.encode("ascii"), salt)


def v2_info(channel: str, direction: str, sender: int, boot: int) -> str:
    """Spell the version 2 info string; sender and boot are decimal."""
    return f"appia:v2|{channel}|{direction}|{sender}|{boot}"
