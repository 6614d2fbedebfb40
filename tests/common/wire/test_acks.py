"""Acknowledgements: what they say comes back, and nothing else is read as one."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.wire.acks import Ack, read_ack
from services.common.wire.body import compress
from services.common.wire.refusals import FrameRefused, Reason

COUNT = st.integers(0, (1 << 64) - 1)


@given(COUNT, COUNT, COUNT, st.dictionaries(st.text(max_size=20), COUNT, max_size=5))
def test_an_acknowledgement_comes_back_as_it_was(
    seq: int, accepted: int, duplicates: int, refused: dict[str, int]
) -> None:
    """read_ack(pack(x)) == x."""
    ack = Ack(seq, accepted, duplicates, refused)
    assert read_ack(compress(ack.pack(), 52)) == ack


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "seq",
        {},
        {"seq": 1, "accepted": 1, "duplicates": 0},
        {"seq": "1", "accepted": 1, "duplicates": 0, "refused": {}},
        {"seq": True, "accepted": 1, "duplicates": 0, "refused": {}},
        {"seq": -1, "accepted": 1, "duplicates": 0, "refused": {}},
        {"seq": 1, "accepted": 1.5, "duplicates": 0, "refused": {}},
        {"seq": 1, "accepted": 1, "duplicates": 0, "refused": []},
        {"seq": 1, "accepted": 1, "duplicates": 0, "refused": {"replay": -1}},
        {"seq": 1, "accepted": 1, "duplicates": 0, "refused": {b"replay": 1}},
        {"seq": 1, "accepted": 1, "duplicates": 0, "refused": {str(n): n for n in range(300)}},
    ],
)
def test_other_content_is_refused(content: object) -> None:
    """Missing fields, other types, negative counts and endless reasons are refused as bad_ack."""
    with pytest.raises(FrameRefused) as refused:
        read_ack(compress(msgpack.packb(content), 52))
    assert refused.value.reason is Reason.BAD_ACK


@given(st.binary(min_size=1, max_size=80))
def test_arbitrary_content_is_read_or_refused(body: bytes) -> None:
    """Whatever an authentic acknowledgement holds, the only exception is FrameRefused."""
    try:
        ack = read_ack(compress(body, 52))
    except FrameRefused:
        return
    assert ack.seq >= 0
