"""Blocks: some events of a sealed day as one compressed payload of its log. See docs/formats.md.

block := u32 count | u32 size | one LZ4 block of `count` u32 lengths and the events, `size` bytes
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import lz4.block
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

EVENTS_A_BLOCK = 32
MAX_BLOCK = EVENTS_A_BLOCK * ((1 << 20) + 4)
_BLOCK = struct.Struct("<II")


def pack_block(payloads: Sequence[bytes], level: int) -> bytes:
    """Up to `EVENTS_A_BLOCK` events, compressed; `level` is 0 for plain LZ4, 1..12 for LZ4-HC."""
    lengths = np.array([len(p) for p in payloads], "<u4").tobytes()
    raw = lengths + b"".join(payloads)
    mode = {"mode": "high_compression", "compression": level} if level else {}
    packed: bytes = lz4.block.compress(raw, store_size=False, **mode)
    return _BLOCK.pack(len(payloads), len(raw)) + packed


def unpack_block(payload: bytes) -> list[bytes]:
    """The events of a BLOCK record.

    Raises:
        ValueError: the block is malformed.
    """
    if len(payload) < _BLOCK.size:
        raise ValueError(f"a block of {len(payload)} bytes has no header")
    count, size = _BLOCK.unpack_from(payload)
    if size > MAX_BLOCK:
        raise ValueError(f"a block claims {size} bytes, at most {MAX_BLOCK} are allowed")
    try:
        raw = lz4.block.decompress(payload[_BLOCK.size :], uncompressed_size=size)
    except lz4.block.LZ4BlockError as error:
        raise ValueError(str(error)) from error
    if len(raw) != size or size < 4 * count:
        raise ValueError(f"block of {count} events is {len(raw)} bytes instead of {size}")
    ends = np.cumsum(np.frombuffer(raw, "<u4", count), dtype=np.int64) + 4 * count
    if count and ends[-1] != size:
        raise ValueError(f"events of a block end at {ends[-1]} instead of {size}")
    starts = np.concatenate(([4 * count], ends[:-1]))
    return [raw[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
