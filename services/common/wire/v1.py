"""Version 1 frames: what the sensors in the field send, opened, and sealed without their flaw.

    nonce[12] || ChaCha20-Poly1305(key, nonce, no aad, u32_le size || lz4_block) || tag[16]

A frame carries one event and names neither key nor sender. docs/wire-format.md says what this cannot promise.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from services.common.errors import AppiaError
from services.common.wire.body import TAG_BYTES, check_length, compress, decompress
from services.common.wire.keys import v1_aead
from services.common.wire.refusals import FrameRefused, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

NONCE = struct.Struct("<IQ")
COUNTER_LIMIT = 1 << 64


@dataclass(frozen=True, slots=True)
class OpenedV1:
    """An authentic version 1 frame: its one payload, and what tells replays and restarts apart.

    `key` is the place of the seed that opened it, `boot` the four prefix bytes (zero from old sensors).
    """

    payload: bytes
    key: int
    boot: int
    counter: int
    tag: bytes


class V1Opener:
    """Opens the frames of one channel with any of the given seeds, in their order."""

    def __init__(self, seeds: Sequence[bytes], channel: str) -> None:
        """Raise UsageError for a channel that is no name, ValueError without a seed."""
        if not seeds:
            raise ValueError("an opener needs at least one seed")
        self._aeads = tuple(v1_aead(seed, channel) for seed in seeds)

    def open(self, frame: bytes) -> OpenedV1:
        """Check and open one frame; never blocks.

        Raises:
            FrameRefused: too_short, too_long, bad_tag, size_zero, size_too_large, size_exceeds_ratio or
                bad_block. Nothing but FrameRefused, whatever the bytes.
        """
        check_length(frame, NONCE.size)
        nonce, sealed = frame[: NONCE.size], frame[NONCE.size :]
        boot, counter = NONCE.unpack(nonce)
        for key, aead in enumerate(self._aeads):
            plain = _decrypt(aead, nonce, sealed)
            if plain is not None:
                return OpenedV1(decompress(plain), key, boot, counter, frame[-TAG_BYTES:])
        raise FrameRefused(
            Reason.BAD_TAG, f"a frame of {len(frame)} bytes is not sealed with a key of this channel"
        )


def _decrypt(aead: ChaCha20Poly1305, nonce: bytes, sealed: bytes) -> bytes | None:
    try:
        return aead.decrypt(nonce, sealed, None)
    except InvalidTag:
        return None


class V1Sealer:
    """Seals version 1 frames for an old receiver; one per boot, not to be shared between threads.

    `boot` comes from `boots.next_boot`: it stands where old sensors have zeros, so that no nonce repeats.
    """

    def __init__(self, seed: bytes, channel: str, boot: int) -> None:
        """Raise UsageError for a channel that is no name, ValueError for a boot outside 1 to 2**32 - 1."""
        if not 1 <= boot < 1 << 32:
            raise ValueError(f"boot {boot} is not between 1 and 2**32 - 1")
        self._aead = v1_aead(seed, channel)
        self._boot = boot
        self._counter = 0

    def seal(self, payload: bytes) -> bytes:
        """Seal one event.

        Raises:
            FrameRefused: the payload is empty or too large for a frame.
            AppiaError: this boot has used up its 2**64 counters.
        """
        plain = compress(payload, NONCE.size)
        if self._counter >= COUNTER_LIMIT:
            raise AppiaError("All 2**64 nonces of this boot are used: start the sender again.")
        nonce = NONCE.pack(self._boot, self._counter)
        self._counter += 1
        return nonce + self._aead.encrypt(nonce, plain, None)
