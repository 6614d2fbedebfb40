"""What lies inside the seal: `u32_le size || lz4_block`, and batches of payloads."""

from __future__ import annotations

import struct
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import lz4.block

from services.common.wire.refusals import FrameRefused, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_FRAME_BYTES = 1 << 20
MAX_BODY_BYTES = 1 << 20
SIZE_BYTES = 4
TAG_BYTES = 16
# The smallest that can be sealed: the size, one byte of LZ4 block, and the tag.
MIN_SEALED_BYTES = SIZE_BYTES + 1 + TAG_BYTES
# An LZ4 block cannot grow by more than this ratio, plus what its last literals may add (wire format, limits).
LZ4_LARGEST_RATIO = 255
LZ4_SLACK_BYTES = 16


def check_length(frame: bytes, head_bytes: int) -> None:
    """Refuse a frame whose length alone rules it out; `head_bytes` come before what is sealed."""
    least = head_bytes + MIN_SEALED_BYTES
    if len(frame) < least:
        raise FrameRefused(Reason.TOO_SHORT, f"{len(frame)} bytes, at least {least} are needed")
    if len(frame) > MAX_FRAME_BYTES:
        raise FrameRefused(Reason.TOO_LONG, f"{len(frame)} bytes, at most {MAX_FRAME_BYTES} are allowed")


def compress(body: bytes, head_bytes: int) -> bytes:
    """Make `u32_le size || lz4_block` of a body.

    Raises:
        FrameRefused: the body is empty or too large, or the frame it would make (with `head_bytes` before
            it and the tag behind) would be.
    """
    if not body:
        raise FrameRefused(Reason.SIZE_ZERO, "an empty body cannot be sent")
    if len(body) > MAX_BODY_BYTES:
        raise FrameRefused(Reason.SIZE_TOO_LARGE, f"{len(body)} bytes, at most {MAX_BODY_BYTES} fit a frame")
    block: bytes = lz4.block.compress(body, store_size=False)
    whole = head_bytes + SIZE_BYTES + len(block) + TAG_BYTES
    if whole > MAX_FRAME_BYTES:
        raise FrameRefused(
            Reason.TOO_LONG,
            f"{len(body)} bytes make a frame of {whole}, at most {MAX_FRAME_BYTES} are allowed",
        )
    return len(body).to_bytes(SIZE_BYTES, "little") + block


def decompress(plain: bytes) -> bytes:
    """Give back the body of `u32_le size || lz4_block`; `plain` has been authenticated and is >= 5 bytes.

    Memory is reserved only after the claimed size has been held against the limits and LZ4's largest ratio.

    Raises:
        FrameRefused: size_zero, size_too_large, size_exceeds_ratio or bad_block.
    """
    size = int.from_bytes(plain[:SIZE_BYTES], "little")
    block = memoryview(plain)[SIZE_BYTES:]
    if size == 0:
        raise FrameRefused(Reason.SIZE_ZERO, "the frame claims an empty body")
    if size > MAX_BODY_BYTES:
        raise FrameRefused(
            Reason.SIZE_TOO_LARGE, f"claims {size} bytes, at most {MAX_BODY_BYTES} are allowed"
        )
    if size > LZ4_LARGEST_RATIO * len(block) + LZ4_SLACK_BYTES:
        raise FrameRefused(Reason.SIZE_EXCEEDS_RATIO, f"claims {size} bytes of a block of {len(block)}")
    try:
        body: bytes = lz4.block.decompress(block, uncompressed_size=size)
    except lz4.block.LZ4BlockError as error:
        raise FrameRefused(Reason.BAD_BLOCK, f"not an LZ4 block of {size} bytes: {error}") from error
    # python-lz4 returns a short result without a word.
    if len(body) != size:
        raise FrameRefused(Reason.BAD_BLOCK, f"claims {size} bytes and holds {len(body)}")
    return body


def join_batch(payloads: Sequence[bytes]) -> bytes:
    """Make a batch body: `u32_le count || count x u32_le length || payloads back to back`."""
    lengths = [len(payload) for payload in payloads]
    return struct.pack(f"<{len(lengths) + 1}I", len(lengths), *lengths) + b"".join(payloads)


def split_batch(body: bytes) -> list[bytes]:
    """Give back the payloads of a batch body, at least one and none empty.

    Raises:
        FrameRefused: bad_batch, where the count or the lengths do not describe exactly these bytes.
    """
    if len(body) < 4:
        raise FrameRefused(Reason.BAD_BATCH, f"a batch of {len(body)} bytes has no room for its count")
    count = int.from_bytes(body[:4], "little")
    start = 4 + 4 * count
    if count == 0 or start > len(body):
        raise FrameRefused(Reason.BAD_BATCH, f"{len(body)} bytes cannot hold a batch of {count} events")
    lengths = struct.unpack_from(f"<{count}I", body, 4)
    if 0 in lengths:
        raise FrameRefused(Reason.BAD_BATCH, f"event {lengths.index(0)} of {count} is empty")
    if start + sum(lengths) != len(body):
        raise FrameRefused(
            Reason.BAD_BATCH, f"lengths add up to {start + sum(lengths)} bytes, the body has {len(body)}"
        )
    return [body[begin:end] for begin, end in pairwise(accumulate(lengths, initial=start))]
