"""The format of a log: records that can be checked one by one. See docs/formats.md; `log.py` writes and reads it.

    file   := header (key block)? record*
    header := "APPIALOG" | u32 version | u32 zero | u64 file_id | u32 crc32c of the 24 bytes before | u32 zero
    record := u32 length | u32 crc32c | u8 type | u64 lsn | payload[length]

All little endian. A record's crc32c covers file_id, lsn, length, type and payload, so that a record of another file or
at another place never passes. In version 2 each payload is sealed with a key of the file's own, which stands behind the
header (`rest/log_keys.py`). The checksum is of what lies on disk: a tail is found and cut without the key.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import google_crc32c

from services.common.days.log_blocks import MAX_BLOCK
from services.common.rest.log_keys import BLOCK_BYTES, KeyBlockDamaged, key_id_of

if TYPE_CHECKING:
    from pathlib import Path

EVENT, BLOCK, REFUSED, CLOSED, FEEDBACK, TAKEN, DECISIONS = 1, 2, 3, 4, 5, 6, 7
MAX_PAYLOAD = MAX_BLOCK + (1 << 20)
"""A block of the largest events that do not compress still fits."""

_PIECE = 1 << 20
_MAGIC = b"APPIALOG"
PLAIN, ENCRYPTED = 1, 2
"""Versions of the format."""
_HEADER = struct.Struct("<8sIIQII")
_CHECKED = 24  # bytes of a header that its checksum is of
HEADER_BYTES = _HEADER.size
RECORD = struct.Struct("<IIBQ")
_SEED = struct.Struct("<QQIB")


@dataclass(frozen=True)
class Record:
    """One record as read: where it begins, its kind, its number, its bytes, and where the next one begins."""

    offset: int
    type: int
    lsn: int
    payload: bytes
    end: int


@dataclass(frozen=True)
class Damage:
    """Bytes `[start, end)` of a log that hold no valid record; `tail` when nothing valid follows."""

    start: int
    end: int
    tail: bool


def checksum(file_id: int, kind: int, lsn: int, payload: bytes) -> int:
    """The crc32c of a record; `payload` is what lies on disk."""
    seed = google_crc32c.value(_SEED.pack(file_id, lsn, len(payload), kind))
    return int(google_crc32c.extend(seed, payload))


def pack_header(version: int, file_id: int) -> bytes:
    """The header of a file, `HEADER_BYTES` of them."""
    head = _HEADER.pack(_MAGIC, version, 0, file_id, 0, 0)[:_CHECKED]
    return head + struct.pack("<II", google_crc32c.value(head), 0)


def unpack_header(header: bytes) -> tuple[int, int] | None:
    """Version and file id; None where it is no whole header of a log."""
    if len(header) < HEADER_BYTES:
        return None
    magic, version, _, file_id, crc, _ = _HEADER.unpack(header)
    if magic != _MAGIC or crc != google_crc32c.value(header[:_CHECKED]):
        return None
    return int(version), int(file_id)


def is_encrypted(path: Path) -> bool:
    """Whether the header of a log says so; False where there is no header that can be read. Needs no key."""
    try:
        with path.open("rb") as file:
            return _version_of(file.read(HEADER_BYTES)) == ENCRYPTED
    except OSError:
        return False


def was_begun(path: Path) -> bool:
    """Whether what stands before the first record is on disk; False where a crash came before.

    It is synced before the first record is written, so such a file never held one. A file that goes on behind a start
    which cannot be read is damaged and not unfinished, unless it is all zeros, or as long as a start with a key.
    """
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        version, block = _version_of(header), file.read(BLOCK_BYTES)
        if version is not None and (version != ENCRYPTED or _is_key_block(header, block)):
            return True
        size = os.fstat(file.fileno()).st_size
        longest = HEADER_BYTES + BLOCK_BYTES
        if size <= HEADER_BYTES or size == longest or (version == ENCRYPTED and size < longest):
            return False
        file.seek(0)
        return any(any(piece) for piece in iter(lambda: file.read(_PIECE), b""))


def _version_of(header: bytes) -> int | None:
    found = unpack_header(header)
    return None if found is None else found[0]


def _is_key_block(header: bytes, block: bytes) -> bool:
    """Whether the block with the key of an encrypted file is whole."""
    try:
        key_id_of(header, block)
    except KeyBlockDamaged:
        return False
    return True
