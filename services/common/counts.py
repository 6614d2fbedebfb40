"""Two committed counters (rows and items) as a file has them.

They are 20 bytes, little endian: `u64 rows | u64 items | u32 crc32 of the first 16 bytes`.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path

_ROWS = struct.Struct("<QQI")


def pack_counts(rows: int, items: int) -> bytes:
    """The 20 bytes that a `CountFile` holds."""
    head = _ROWS.pack(rows, items, 0)[:16]
    return head + struct.pack("<I", _crc(head))


def read_counts(path: Path) -> tuple[int, int]:
    """Read `(rows, items)`; `(0, 0)` where the file is absent, and the last try's result is checked by its crc.

    Raises:
        AppiaError: the file is damaged.
    """
    for _ in range(8):
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return 0, 0
        found = unpack_counts(raw)
        if found is not None:
            return found
    raise AppiaError(
        f"{path} is damaged (its checksum does not fit): stop the ingester, delete the file, start again"
    )


def unpack_counts(raw: bytes) -> tuple[int, int] | None:
    """What a `CountFile` of these bytes says; None where they are damaged, or are being written just now."""
    if not raw:
        return 0, 0
    if len(raw) == _ROWS.size:
        rows, items, crc = _ROWS.unpack(raw)
        if crc == _crc(raw[:16]):
            return rows, items
    return None


def _crc(head: bytes) -> int:
    return zlib.crc32(head)
