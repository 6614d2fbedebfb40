"""What parse_event takes and what it refuses, with the reason an operator will see counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.parse import LATEST_SECOND, Refused, canonical_address, parse_event

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., NetworkSecurityEvent]


def reason_of(payload: bytes) -> str:
    with pytest.raises(Refused) as caught:
        parse_event(payload)
    assert caught.value.reason in str(caught.value)
    assert len(caught.value.detail) < 400
    return caught.value.reason


def test_a_valid_event_comes_back_whole(make_event: Make) -> None:
    """An event with an id, a time and two addresses is read back as it was written."""
    made = make_event()
    assert parse_event(made.SerializeToString()) == made


@pytest.mark.parametrize(
    "payload",
    [b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x01\xff", b"hello, this is text"],
    ids=["bad tag", "cut short", "event_id is no UTF-8", "text"],
)
def test_bytes_that_are_no_event_are_refused(payload: bytes) -> None:
    """Whatever protobuf cannot read is refused as not_an_event."""
    assert reason_of(payload) == "not_an_event"


def test_nested_groups_do_not_exhaust_the_stack() -> None:
    """A megabyte of nested groups is refused and does not end the process."""
    assert reason_of(b"\x0b" * (1 << 20)) == "not_an_event"


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("event_id", "no_event_id"),
        ("event_timestamp", "no_event_timestamp"),
        ("network_features", "no_network_features"),
    ],
)
def test_what_every_index_needs_must_be_there(make_event: Make, field: str, reason: str) -> None:
    """An event without its id, its time or its flow is refused with that reason."""
    event = make_event()
    event.ClearField(field)
    assert reason_of(event.SerializeToString()) == reason


def test_an_empty_payload_has_no_id() -> None:
    """No bytes at all are a protobuf message without fields, so the id is what is missing first."""
    assert reason_of(b"") == "no_event_id"


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(LATEST_SECOND + 1, 0), (-(2**62), 0), (0, -1), (0, 1_000_000_000)],
)
def test_a_time_that_is_none_is_refused(make_event: Make, seconds: int, nanos: int) -> None:
    """A timestamp that does not fit 64-bit nanoseconds, or breaks the rule for nanos, is refused."""
    event = make_event({"event_timestamp": Timestamp(seconds=seconds, nanos=nanos)})
    assert reason_of(event.SerializeToString()) == "bad_event_timestamp"


def test_the_first_second_of_1970_is_a_time(make_event: Make) -> None:
    """A timestamp that is present and zero is 1970, not a missing one."""
    event = make_event({"event_timestamp": Timestamp()})
    assert parse_event(event.SerializeToString()).event_timestamp.seconds == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "256.1.1.1",
        "1.2.3",
        "01.2.3.4",
        "fe80::1::2",
        "10.0.0.0/8",
        " 10.0.0.1",
        "1" * 100_000,
    ],
)
@pytest.mark.parametrize("side", ["source", "destination"])
def test_an_address_that_is_none_is_refused(make_event: Make, text: str, side: str) -> None:
    """Both addresses must be IPv4 or IPv6; the detail stays short however long the text was."""
    event = make_event(**{f"{side}_ip": text})
    assert reason_of(event.SerializeToString()) == f"bad_{side}_ip"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:0DB8:0:0::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::", "::"),
    ],
)
def test_an_address_has_one_spelling(text: str, canonical: str) -> None:
    """Every spelling of one address becomes the same text."""
    assert canonical_address(text) == canonical


def test_numbers_out_of_range_do_not_cost_the_event(make_event: Make) -> None:
    """A port above 65535, a NaN or an absurd duration is the table's problem: the event is kept."""
    event = make_event(source_port=4_000_000_000, flow_bytes_per_second=float("nan"))
    event.network_features.flow_duration.CopyFrom(Duration(seconds=-(2**62), nanos=2**30))
    assert parse_event(event.SerializeToString()) == event


@given(st.binary(max_size=400))
def test_any_bytes_are_an_event_or_refused(payload: bytes) -> None:
    """Random bytes never raise anything but Refused."""
    try:
        event = parse_event(payload)
    except Refused:
        return
    assert isinstance(event, NetworkSecurityEvent)
