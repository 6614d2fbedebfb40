"""Bodies: sizes are checked before memory is reserved, batches describe exactly their bytes."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.wire.body import (
    MAX_BODY_BYTES,
    compress,
    decompress,
    join_batch,
    split_batch,
)
from services.common.wire.refusals import FrameRefused, Reason


@given(st.binary(min_size=1, max_size=3000))
def test_a_body_comes_back_as_it_was(body: bytes) -> None:
    """Compressing and decompressing gives the same bytes."""
    assert decompress(compress(body, 0)) == body


def test_the_largest_body_passes_and_one_byte_more_is_refused() -> None:
    """The limit of 1 MiB is inclusive."""
    assert decompress(compress(bytes(MAX_BODY_BYTES), 12)) == bytes(MAX_BODY_BYTES)
    with pytest.raises(FrameRefused) as refused:
        compress(bytes(MAX_BODY_BYTES + 1), 12)
    assert refused.value.reason is Reason.SIZE_TOO_LARGE


def test_a_body_that_does_not_compress_must_still_fit_a_frame() -> None:
    """Random bytes of 1 MiB would make a frame above 1 MiB and are not sealed."""
    noise = random.Random(1).randbytes(MAX_BODY_BYTES)
    with pytest.raises(FrameRefused) as refused:
        compress(noise, 52)
    assert refused.value.reason is Reason.TOO_LONG


def test_an_empty_body_is_not_sealed() -> None:
    """A body of nothing is refused on the sending side already."""
    with pytest.raises(FrameRefused) as refused:
        compress(b"", 12)
    assert refused.value.reason is Reason.SIZE_ZERO


def test_what_no_honest_sender_seals_is_refused_by_reason(wrong_insides: dict[str, list[bytes]]) -> None:
    """Each wrong inside is refused with its own code."""
    for reason, insides in wrong_insides.items():
        for plain in insides:
            with pytest.raises(FrameRefused) as refused:
                decompress(plain)
            assert refused.value.reason == reason, plain[:8]


def test_no_memory_is_reserved_on_a_claim() -> None:
    """A few bytes that claim 4 GiB cost less than 64 KiB of memory."""
    tracemalloc.start()
    with pytest.raises(FrameRefused):
        decompress(b"\xff\xff\xff\xff\x10a")
    with pytest.raises(FrameRefused):
        decompress(MAX_BODY_BYTES.to_bytes(4, "little") + b"\x10a")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 16


@given(st.binary(min_size=5, max_size=200))
def test_any_inside_is_opened_or_refused(plain: bytes) -> None:
    """Whatever bytes were sealed, the only exception is FrameRefused."""
    try:
        body = decompress(plain)
    except FrameRefused:
        return
    assert len(body) == int.from_bytes(plain[:4], "little")


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=300))
def test_a_batch_comes_back_as_it_was(payloads: list[bytes]) -> None:
    """Joining and splitting gives the same payloads in the same order."""
    assert split_batch(join_batch(payloads)) == payloads


@given(st.binary(max_size=64))
def test_any_batch_body_is_split_exactly_or_refused(body: bytes) -> None:
    """Arbitrary bytes are refused, or are exactly the batch they were split into."""
    try:
        payloads = split_batch(body)
    except FrameRefused:
        return
    assert join_batch(payloads) == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01\x00\x00",
        b"\x00\x00\x00\x00",
        b"\x01\x00\x00\x00",
        b"\xff\xff\xff\xff" + bytes(64),
        b"\x01\x00\x00\x00\x00\x00\x00\x00",
        b"\x01\x00\x00\x00\x02\x00\x00\x00a",
        b"\x01\x00\x00\x00\x01\x00\x00\x00ab",
        b"\x02\x00\x00\x00\x01\x00\x00\x00\xff\xff\xff\xffa",
    ],
)
def test_a_batch_that_does_not_add_up_is_refused(body: bytes) -> None:
    """Counts and lengths that describe more, fewer or no bytes are refused."""
    with pytest.raises(FrameRefused) as refused:
        split_batch(body)
    assert refused.value.reason is Reason.BAD_BATCH
