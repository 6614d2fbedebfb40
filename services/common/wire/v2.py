"""Version 2 frames: header, keys per boot and direction, sealing and opening.

    header[52] || ChaCha20-Poly1305(key, nonce, aad = header, u32_le size || lz4_block) || tag[16]
    nonce = 4 zero bytes || u64_le seq

The header is laid out byte by byte in docs/wire-format.md.
"""

from __future__ import annotations

import os
import struct
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from services.common.errors import AppiaError
from services.common.wire.body import TAG_BYTES, check_length, compress, decompress, join_batch, split_batch
from services.common.wire.keys import SALT_BYTES, check_channel, v2_aead, v2_info
from services.common.wire.refusals import FrameRefused, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    from services.common.wire.keys import KeyRing

HEADER = struct.Struct("<4sBBHIQQ16sQ")
MAGIC = b"APP2"
VERSION = 2
CHACHA20_POLY1305 = 1
FLAG_BATCH = 1
FLAG_BACKFILL = 2
FLAG_ACK = 4
FLAG_DECISIONS = 8
"""Each payload is a `DetectionBatch` of a firewall, and no event. Authenticated like the rest of the header."""
KNOWN_FLAGS = FLAG_BATCH | FLAG_BACKFILL | FLAG_ACK | FLAG_DECISIONS
SEQ_LIMIT = 1 << 64
# key_id, sender, boot and salt: what a key depends on, and one stretch of the header.
KEY_FIELDS = slice(8, 44)
KEYS_KEPT = 1024


class Direction(StrEnum):
    """Which way a frame goes; each way has keys of its own."""

    DATA = "data"
    ACK = "ack"


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a header that differ from frame to frame."""

    flags: int
    key_id: int
    sender: int
    boot: int
    salt: bytes
    seq: int

    def pack(self) -> bytes:
        """Give the 52 bytes of the header."""
        return HEADER.pack(
            MAGIC,
            VERSION,
            CHACHA20_POLY1305,
            self.flags,
            self.key_id,
            self.sender,
            self.boot,
            self.salt,
            self.seq,
        )


def read_header(frame: bytes) -> Header:
    """Read a header, which is not authenticated yet; raise FrameRefused for one that cannot be ours."""
    check_length(frame, HEADER.size)
    magic, version, algorithm, flags, key_id, sender, boot, salt, seq = HEADER.unpack_from(frame)
    if magic != MAGIC:
        raise FrameRefused(Reason.BAD_MAGIC, f"begins with {magic.hex()}, not with {MAGIC.hex()}")
    if version != VERSION:
        raise FrameRefused(Reason.WRONG_VERSION, f"version {version}, this endpoint takes {VERSION} only")
    if algorithm != CHACHA20_POLY1305:
        raise FrameRefused(
            Reason.WRONG_ALGORITHM, f"algorithm {algorithm}, only {CHACHA20_POLY1305} is known"
        )
    if flags & ~KNOWN_FLAGS:
        raise FrameRefused(Reason.UNKNOWN_FLAGS, f"flags {flags:#06x}, known are {KNOWN_FLAGS:#06x}")
    return Header(flags, key_id, sender, boot, salt, seq)


class DirectionKeys:
    """The keys of one channel and direction, derived when needed; a bounded number is kept."""

    def __init__(self, ring: KeyRing, channel: str, direction: Direction) -> None:
        """Raise UsageError for a channel that is no name."""
        self.direction = direction
        self._ring = ring
        self._channel = check_channel(channel)
        self._kept: OrderedDict[bytes, ChaCha20Poly1305] = OrderedDict()

    def of(self, header: Header, packed: bytes) -> ChaCha20Poly1305:
        """Give the key of a header (`packed` are its bytes), or raise FrameRefused (unknown, revoked)."""
        kept = self._kept.get(packed[KEY_FIELDS])
        if kept is not None:
            return kept
        seed = self._ring.opening_seed(header.key_id)
        return v2_aead(seed, header.salt, v2_info(self._channel, self.direction, header.sender, header.boot))

    def use(self, ring: KeyRing) -> None:
        """Take another ring from now on; keys of the one before are forgotten, so that a revoked one opens nothing."""
        self._ring = ring
        self._kept.clear()

    def keep(self, packed: bytes, aead: ChaCha20Poly1305) -> None:
        """Keep a key that has proved itself, so that forged headers cannot drive the good ones out."""
        self._kept[packed[KEY_FIELDS]] = aead
        self._kept.move_to_end(packed[KEY_FIELDS])
        if len(self._kept) > KEYS_KEPT:
            self._kept.popitem(last=False)


def authenticate(frame: bytes, keys: DirectionKeys) -> tuple[Header, bytes]:
    """Check the tag of a frame; give its header and what was sealed (`u32_le size || lz4_block`).

    Raises:
        FrameRefused: too_short, too_long, bad_magic, wrong_version, wrong_algorithm, unknown_flags,
            wrong_direction, unknown_key, revoked_key or bad_tag.
    """
    header = read_header(frame)
    is_ack = bool(header.flags & FLAG_ACK)
    if is_ack != (keys.direction is Direction.ACK):
        raise FrameRefused(
            Reason.WRONG_DIRECTION, f"flags {header.flags:#06x} where {keys.direction} is expected"
        )
    packed = frame[: HEADER.size]
    aead = keys.of(header, packed)
    try:
        plain = aead.decrypt(_nonce(header.seq), frame[HEADER.size :], packed)
    except InvalidTag as error:
        raise FrameRefused(
            Reason.BAD_TAG,
            f"a frame of {len(frame)} bytes is not sealed with key {header.key_id} and this channel",
        ) from error
    keys.keep(packed, aead)
    return header, plain


def open_payloads(header: Header, plain: bytes) -> list[bytes]:
    """Give the payloads of an authenticated data frame, or raise FrameRefused for what is wrong inside."""
    body = decompress(plain)
    return split_batch(body) if header.flags & FLAG_BATCH else [body]


def seal(header: Header, body: bytes, keys: DirectionKeys) -> bytes:
    """Seal `body` under `header`, whose (key, seq) the caller never uses twice.

    Raises:
        FrameRefused: the body is empty or too large, or the ring does not hold the header's key.
    """
    plain = compress(body, HEADER.size)
    packed = header.pack()
    aead = keys.of(header, packed)
    keys.keep(packed, aead)
    return packed + aead.encrypt(_nonce(header.seq), plain, packed)


def frame_tag(frame: bytes) -> bytes:
    """Give the 16 bytes of the tag, which differ for any two contents sealed under one nonce."""
    return frame[-TAG_BYTES:]


def _nonce(seq: int) -> bytes:
    return bytes(4) + seq.to_bytes(8, "little")


@dataclass(frozen=True, slots=True)
class Origin:
    """Who sends: channel, sender id (u64) and boot number (u64, greater with every start of this sender)."""

    channel: str
    sender: int
    boot: int


class V2Sealer:
    """Seals the data frames of one boot, seq from zero, under a fresh salt; for one thread."""

    def __init__(self, ring: KeyRing, origin: Origin, random: Callable[[int], bytes] = os.urandom) -> None:
        """Take the primary key of the ring; raise UsageError for a channel that is no name."""
        self.origin = origin
        self._keys = DirectionKeys(ring, origin.channel, Direction.DATA)
        self.key_id = ring.primary
        self._salt = random(SALT_BYTES)
        self._next_seq = 0

    def use(self, ring: KeyRing) -> None:
        """Seal with the primary key of another ring from now on; `seq` goes on, so that no (key, nonce) comes twice."""
        self._keys.use(ring)
        self.key_id = ring.primary

    def reopen(self, frame: bytes) -> list[bytes]:
        """Give the payloads of a frame that this sealer made, while its key is in the ring.

        Raises:
            FrameRefused: the frame is of another sender, or its key is not in the ring any more.
        """
        return open_payloads(*authenticate(frame, self._keys))

    def seal(
        self, payloads: Sequence[bytes], *, backfill: bool = False, decisions: bool = False
    ) -> tuple[int, bytes]:
        """Seal one event or a batch, or with `decisions` batches of a firewall; give the frame's seq and the frame.

        Raises:
            FrameRefused: no payload, an empty one, or too many bytes for a frame; no seq is used up.
            AppiaError: this boot has used up its 2**64 numbers.
        """
        if not payloads or not all(payloads):
            raise FrameRefused(Reason.SIZE_ZERO, "an empty event cannot be sent")
        if self._next_seq >= SEQ_LIMIT:
            raise AppiaError("All 2**64 frame numbers of this boot are used: start the sender again.")
        single = len(payloads) == 1
        body = payloads[0] if single else join_batch(payloads)
        flags = (0 if single else FLAG_BATCH) | (FLAG_BACKFILL if backfill else 0)
        flags |= FLAG_DECISIONS if decisions else 0
        seq = self._next_seq
        header = Header(flags, self.key_id, self.origin.sender, self.origin.boot, self._salt, seq)
        frame = seal(header, body, self._keys)
        self._next_seq += 1
        return seq, frame
