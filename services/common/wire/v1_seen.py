"""Which version 1 frames were seen in the last 24 hours, over restarts of the receiver.

The file, in the machine's byte order, which is little endian wherever this runs:

    0       8   magic "APPIASEN"
    8       8   u64 places
    16      16  random key of the hash
    32      4   u32 crc32 of bytes 0 to 31
    36      28  zeros
    64      16 each, places of them: u64 hash of key and nonce | u32 first bytes of the tag | u32 seconds since 1970

A place that was never used is all zeros. Nothing depends on the file being whole: it is a memory for alarms, and
events that come again are recognised by their content without it.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
import zlib
from array import array
from enum import Enum, auto
from typing import TYPE_CHECKING

from services.common.durable import is_full
from services.common.wire.v1 import NONCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.durable import Disk, PatchFile
    from services.common.wire.v1 import SealedV1

REPLAY_HORIZON_S = 24 * 3600
SEEN_FRAMES = 1 << 20
BUCKET = 8
MAGIC = b"APPIASEN"
HEAD = struct.Struct("<8sQ16sI28x")
ENTRY = struct.Struct("<QQ")


class Sighting(Enum):
    """What a frame is, measured by the frames before it."""

    NEW = auto()
    REPLAY = auto()
    NONCE_REUSED = auto()


class SeenFile:
    """Keeps the table on disk: each entry is written when it is made, and synced when the file is closed.

    A kill loses nothing; a power cut may lose the entries of the last half minute or so.
    """

    def __init__(self, disk: Disk, path: Path, random: Callable[[int], bytes] = os.urandom) -> None:
        """Keep the table at `path`, whose folder is there."""
        self._disk = disk
        self._path = path
        self._random = random
        self._patch: PatchFile | None = None

    def load(self, places: int) -> tuple[bytes, array[int]]:
        """Give the hash key and the table; an empty one where there is no file that fits. Blocks; raises OSError."""
        content = self._path.read_bytes() if self._path.exists() else b""
        if len(content) != HEAD.size + ENTRY.size * places or not _is_head(content[: HEAD.size], places):
            content = self._make(places)
        self._patch = self._disk.patch(self._path)
        table = array("Q")
        table.frombytes(content[HEAD.size :])
        return HEAD.unpack_from(content)[2], table

    def put(self, place: int, nonce: int, mark: int) -> None:
        """Write one entry; raises OSError. On a full disk it is left out: no frame is lost for a memory of frames."""
        if self._patch is None:
            return
        try:
            self._patch.write(HEAD.size + ENTRY.size * place, ENTRY.pack(nonce, mark))
        except OSError as error:
            if not is_full(error):
                raise

    def close(self) -> None:
        """Sync and close; a second call does nothing."""
        patch, self._patch = self._patch, None
        if patch is not None:
            patch.sync()
            patch.close()

    def _make(self, places: int) -> bytes:
        head = MAGIC + struct.pack("<Q", places) + self._random(16)
        head = HEAD.pack(MAGIC, places, head[16:], zlib.crc32(head))
        self._disk.remove(self._path)
        with self._disk.append_to(self._path) as file:
            file.write(head)
            file.truncate(HEAD.size + ENTRY.size * places)  # zeros that take no room yet
            file.sync()
        return head + bytes(ENTRY.size * places)


def _is_head(head: bytes, places: int) -> bool:
    magic, found, _, crc = HEAD.unpack(head)
    return bool(magic == MAGIC and found == places and crc == zlib.crc32(head[:32]))


class SeenFrames:
    """Remembers the nonces and tags of frames for 24 h, in 16 bytes each, at most `frames` of them.

    A hash table in a flat array, buckets of 8. A full bucket gives up its oldest entry, so with more than
    about half of `frames` (1,048,576 by default: 16 MiB) in 24 h the horizon becomes shorter. 64 bits of a
    keyed hash stand for the nonce and 32 bits of the tag for the tag: two frames are taken for one another
    once in 2**64, and a repeated nonce is taken for a replay once in 2**32.

    Time is that of the wall, because it goes on while the receiver does not run: a clock that is set forward
    shortens the horizon.
    """

    def __init__(
        self, frames: int = SEEN_FRAMES, clock: Callable[[], float] = time.time, file: SeenFile | None = None
    ) -> None:
        """Reserve the memory at once, or read it from `file`; `clock` gives seconds since 1970. May raise OSError."""
        self._buckets = max(1, frames // BUCKET)
        self._clock = clock
        self._file = file
        places = BUCKET * self._buckets
        empty = os.urandom(16), array("Q", bytes(ENTRY.size * places))
        self._hash_key, self._table = file.load(places) if file else empty

    def note(self, sealed: SealedV1) -> Sighting:
        """Say whether this frame, or another under its nonce, was seen in the last 24 h, and remember it.

        Writes 16 bytes to the file, where there is one; raises OSError.
        """
        now = max(int(self._clock()), 1) & 0xFFFF_FFFF
        nonce = self._hash(sealed)
        tag = int.from_bytes(sealed.tag[:4], "little")
        first = nonce % self._buckets * BUCKET
        places = range(first, first + BUCKET)
        for place in places:
            mark = self._table[2 * place + 1]
            if self._table[2 * place] == nonce and mark and now - (mark >> 32) < REPLAY_HORIZON_S:
                self._put(place, nonce, now << 32 | tag)
                return Sighting.REPLAY if mark & 0xFFFF_FFFF == tag else Sighting.NONCE_REUSED
        self._put(min(places, key=lambda place: self._table[2 * place + 1]), nonce, now << 32 | tag)
        return Sighting.NEW

    def close(self) -> None:
        """Sync and close the file, where there is one; raises OSError."""
        if self._file is not None:
            self._file.close()

    def _put(self, place: int, nonce: int, mark: int) -> None:
        self._table[2 * place], self._table[2 * place + 1] = nonce, mark
        if self._file is not None:
            self._file.put(place, nonce, mark)

    def _hash(self, sealed: SealedV1) -> int:
        told = sealed.key + NONCE.pack(sealed.boot, sealed.counter)
        return int.from_bytes(hashlib.blake2b(told, digest_size=8, key=self._hash_key).digest(), "little")
