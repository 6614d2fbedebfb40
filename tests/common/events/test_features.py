"""The fast reader gives exactly what protobuf's own attributes say, for any event protobuf accepts."""

from __future__ import annotations

import math
import struct
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.events import features, scan
from services.common.events.features import FEATURES, column_of, extract
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.table import LARGEST_FLOAT32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., NetworkSecurityEvent]

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5


@pytest.fixture(params=[0, 32], ids=["lockstep", "one by one"])
def few(request: pytest.FixtureRequest) -> Iterator[None]:
    """Send a handful of events through the fast reader too, which is otherwise for larger batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "FEW", request.param)
        yield


@pytest.fixture(autouse=True, scope="module")
def _lockstep() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "FEW", 0)
        yield


def by_attributes(event: NetworkSecurityEvent) -> tuple[list[float], list[bool]]:
    """Read every feature the slow and obvious way."""
    values, present = [], []
    for feature in FEATURES:
        *messages, name = feature.path.split(".")
        owner: Any = reduce(getattr, messages, event)
        there = all(
            reduce(getattr, messages[:depth], event).HasField(messages[depth])
            for depth in range(len(messages))
        )
        if owner.DESCRIPTOR.fields_by_name[name].has_presence:
            there = there and owner.HasField(name)
        number = float(getattr(owner, name))
        if name == "flow_duration_microseconds" and number == 0 and owner.HasField("flow_duration"):
            number = owner.flow_duration.seconds * 1e6 + owner.flow_duration.nanos / 1e3
        there = there and math.isfinite(number) and number != -9999
        values.append(float(np.float32(np.clip(number, -LARGEST_FLOAT32, LARGEST_FLOAT32))) if there else 0.0)
        present.append(there)
    return values, present


def check(payloads: list[bytes]) -> None:
    matrix = extract(payloads)
    assert matrix.values.dtype == np.float32
    assert matrix.present.dtype == np.bool_
    assert matrix.values.shape == matrix.present.shape == (len(payloads), len(FEATURES))
    for row, payload in enumerate(payloads):
        values, present = by_attributes(NetworkSecurityEvent.FromString(payload))
        np.testing.assert_array_equal(matrix.present[row], present)
        np.testing.assert_array_equal(matrix.values[row], np.array(values, np.float32))


# --- events as a sensor could write them ---

NUMBERS = {
    "double": st.floats() | st.sampled_from([-9999.0, 1e300, -1e300, 0.0, -0.0, 3.5]),
    "float": st.floats(width=32) | st.just(-9999.0),
    "int32": st.integers(-(2**31), 2**31 - 1) | st.just(-9999),
    "int64": st.integers(-(2**40), 2**40),
    "uint32": st.integers(0, 2**32 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "bool": st.booleans(),
    "enum": st.integers(-5, 9),
    "string": st.text(max_size=3) | st.just("x" * 300),
}
NAMES = {
    1: "double",
    2: "float",
    3: "int64",
    4: "uint64",
    5: "int32",
    8: "bool",
    9: "string",
    13: "uint32",
    14: "enum",
}
SUBMESSAGES = {
    "network_features", "ml_analysis", "level1_general_detection", "level2_context_classification",
    "decision_metadata", "provenance", "ransomware", "ddos_embedded", "smb_scan", "flow_duration",
    "geo_enrichment",
}  # fmt: skip


def messages_of(descriptor: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Any selection of a message's single fields, as keyword arguments; messages only where features lie."""
    fields = {}
    for field in descriptor.fields:
        if field.is_repeated:
            continue
        if field.type in NAMES:
            fields[field.name] = NUMBERS[NAMES[field.type]]
        elif field.name in SUBMESSAGES:
            fields[field.name] = st.deferred(lambda inner=field.message_type: messages_of(inner))
    chosen = st.lists(st.sampled_from(sorted(fields)), max_size=12, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: fields[name] for name in names}))


EVENTS = messages_of(NetworkSecurityEvent.DESCRIPTOR).map(
    lambda fields: NetworkSecurityEvent(**fields).SerializeToString()
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(EVENTS, max_size=3).map(b"".join), max_size=6))
def test_events_of_any_shape(payloads: list[bytes]) -> None:
    """Batches of events, each the merge of several, read as protobuf reads them."""
    check(payloads)


# --- bytes as nobody would write them ---


def varint(number: int, padding: int = 0) -> bytes:
    groups = []
    while True:
        groups.append(number & 0x7F)
        number >>= 7
        if not number:
            break
    groups += [0] * padding
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def field_bytes(number: int, wire_type: int, value: bytes) -> bytes:
    size = varint(len(value)) if wire_type == DELIMITED else b""
    return varint(number << 3 | wire_type) + size + value


KNOWN_NUMBERS = st.sampled_from(
    [1, 2, 3, 4, 5, 7, 8, 12, 13, 14, 15, 29, 31, 32, 34, 35, 40, 44, 105, 106, 112, 116]
)
FIELD_NUMBERS = KNOWN_NUMBERS | st.sampled_from([16, 900, 2047, 2048, 2**29 - 1])
LEAVES = st.one_of(
    st.builds(lambda n, v: field_bytes(n, VARINT, varint(v)), FIELD_NUMBERS, NUMBERS["uint64"]),
    st.builds(lambda n, v: field_bytes(n, VARINT, varint(v)), FIELD_NUMBERS, st.integers(2**30, 2**36)),
    st.builds(lambda n, p: field_bytes(n, VARINT, varint(5, p)), FIELD_NUMBERS, st.integers(0, 8)),
    st.builds(lambda n, v: field_bytes(n, FIXED64, struct.pack("<d", v)), FIELD_NUMBERS, st.floats()),
    st.builds(lambda n, v: field_bytes(n, FIXED64, v), FIELD_NUMBERS, st.binary(min_size=8, max_size=8)),
    st.builds(lambda n, v: field_bytes(n, FIXED32, v), FIELD_NUMBERS, st.binary(min_size=4, max_size=4)),
    st.builds(lambda n, v: field_bytes(n, DELIMITED, v), FIELD_NUMBERS, st.binary(max_size=20)),
)
WIRE = st.recursive(
    st.lists(LEAVES, max_size=5).map(b"".join),
    lambda inner: st.one_of(
        st.builds(lambda n, v: field_bytes(n, DELIMITED, v), KNOWN_NUMBERS, inner),
        st.builds(lambda n, v: varint(n << 3 | 3) + v + varint(n << 3 | 4), FIELD_NUMBERS, inner),
        st.lists(inner, max_size=4).map(b"".join),
    ),
    max_leaves=12,
)


def accepted(payload: bytes) -> bool:
    try:
        NetworkSecurityEvent.FromString(payload)
    except DecodeError:
        return False
    return True


@settings(max_examples=400, deadline=None)
@given(st.lists(WIRE, max_size=5))
def test_any_wire_that_protobuf_accepts(payloads: list[bytes]) -> None:
    """Wrong wire types, unknown fields, groups, overlong varints and repeats read as protobuf reads them."""
    check([payload for payload in payloads if accepted(payload)])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60) | WIRE.map(lambda wire: wire[:-1]), max_size=4))
def test_damaged_bytes_end_in_a_value_error_or_numbers(payloads: list[bytes]) -> None:
    """Bytes that are no event never raise anything but ValueError, and always end."""
    try:
        matrix = extract(payloads)
    except ValueError:
        return
    assert np.isfinite(matrix.values).all()


def test_a_varint_of_nine_bytes_does_not_shift_what_follows() -> None:
    """A long varint whose last byte looks like a tag, before bytes that would then read as another number."""
    long_varint = field_bytes(25, VARINT, b"\x80" * 8 + b"\x08")
    triggered = field_bytes(32, VARINT, b"\x01")
    payload = long_varint + field_bytes(1, FIXED64, triggered + b"\x08\x01" + triggered)
    assert accepted(payload)
    check([payload])
    assert extract([payload]).values[0, column_of("fast_detector_triggered")] == 0


def test_numbers_are_cut_to_their_width() -> None:
    """A varint wider than its field loses its upper bits, as protobuf has it."""
    enum = field_bytes(31, VARINT, varint(2**33 + 5))
    port = field_bytes(4, DELIMITED, field_bytes(4, VARINT, varint(2**32 + 443)))
    check([enum + port, field_bytes(31, VARINT, varint(2**31 + 1))])


# --- the rules, one by one ---


@pytest.mark.usefixtures("few")
class TestRules:
    """Each rule holds for events read in lockstep and for those read one by one."""

    def test_a_number_is_read(self, make_event: Make) -> None:
        """A value stands in the column the registry gives it."""
        matrix = extract([make_event(flow_bytes_per_second=2.5).SerializeToString()])
        column = column_of("network_features.flow_bytes_per_second")
        assert matrix.values[0, column] == 2.5
        assert matrix.present[0, column]

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -9999.0])
    def test_what_is_no_number_is_missing(self, make_event: Make, bad: float) -> None:
        """NaN, infinities and -9999 are missing and read as 0."""
        matrix = extract([make_event(idle_mean=bad).SerializeToString()])
        column = column_of("network_features.idle_mean")
        assert matrix.values[0, column] == 0
        assert not matrix.present[0, column]

    def test_a_zero_in_a_message_that_is_there_is_a_zero(self, make_event: Make) -> None:
        """proto3 does not send zeros, so an unset number of a present message is present."""
        matrix = extract([make_event(total_backward_packets=0).SerializeToString()])
        assert matrix.present[0, column_of("network_features.total_backward_packets")]

    def test_fields_of_an_absent_message_are_missing(self, make_event: Make) -> None:
        """Without ml_analysis its numbers are missing; an empty one makes them zeros."""
        without, empty = make_event(), make_event()
        empty.ml_analysis.SetInParent()
        matrix = extract([without.SerializeToString(), empty.SerializeToString()])
        assert matrix.present[:, column_of("ml_analysis.level1_confidence")].tolist() == [False, True]
        assert not matrix.present[1, column_of("ml_analysis.level1_general_detection.confidence_score")]

    def test_optional_fields_know_whether_they_were_set(self, make_event: Make) -> None:
        """In smb_scan a zero that was set is present and an unset field is not."""
        event = make_event()
        event.network_features.smb_scan.rst_ratio = 0.0
        matrix = extract([event.SerializeToString()])
        assert matrix.present[0, column_of("network_features.smb_scan.rst_ratio")]
        assert not matrix.present[0, column_of("network_features.smb_scan.syn_ack_ratio")]

    def test_what_float32_cannot_hold_is_clipped(self, make_event: Make) -> None:
        """A double beyond float32 becomes its largest value, with its sign."""
        event = make_event(idle_mean=1e300, active_mean=-1e300)
        values = extract([event.SerializeToString()]).values[0]
        assert values[column_of("network_features.idle_mean")] == np.float32(LARGEST_FLOAT32)
        assert values[column_of("network_features.active_mean")] == -np.float32(LARGEST_FLOAT32)

    @pytest.mark.parametrize(("microseconds", "expected"), [(0, 1_500_000.25), (7, 7.0)])
    def test_flow_duration_stands_in(self, make_event: Make, microseconds: int, expected: float) -> None:
        """flow_duration fills flow_duration_microseconds only where that is 0."""
        event = make_event(flow_duration_microseconds=microseconds)
        event.network_features.flow_duration.seconds = 1
        event.network_features.flow_duration.nanos = 500_000_250
        value = extract([event.SerializeToString()]).values[
            0, column_of("network_features.flow_duration_microseconds")
        ]
        assert value == np.float32(expected)

    def test_of_a_repeated_message_the_last_number_wins(self, make_event: Make) -> None:
        """Two occurrences of network_features merge, later numbers over earlier ones."""
        first = make_event(idle_mean=1.0, active_mean=4.0).SerializeToString()
        second = NetworkSecurityEvent(network_features={"idle_mean": 2.0}).SerializeToString()
        values = extract([first + second]).values[0]
        assert values[column_of("network_features.idle_mean")] == 2.0
        assert values[column_of("network_features.active_mean")] == 4.0

    def test_bytes_that_are_no_event_are_named(self) -> None:
        """Damaged bytes raise ValueError with their size."""
        with pytest.raises(ValueError, match="3 bytes are not a NetworkSecurityEvent"):
            extract([b"\x0a\x05a"])


def test_no_events_give_an_empty_matrix() -> None:
    """An empty batch is no special case."""
    assert extract([]).values.shape == (0, len(FEATURES))


def test_an_event_of_very_many_fields_does_not_hold_up_the_batch(make_event: Make) -> None:
    """Half a megabyte of unknown two-byte fields is read, beside an ordinary event."""
    plain = make_event(idle_mean=3.0).SerializeToString()
    check([plain + b"\x68\x01" * 250_000, plain])


def test_blocks_are_cut_by_count_and_by_bytes(make_event: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading in several blocks gives the same as reading in one."""
    payloads = [make_event(idle_mean=float(number)).SerializeToString() for number in range(10)]
    whole = extract(payloads)
    for name, limit in (("BLOCK_EVENTS", 3), ("BLOCK_BYTES", 2 * len(payloads[1]) + 1), ("BLOCK_BYTES", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(features, name, limit)
            parts = extract(payloads)
        np.testing.assert_array_equal(parts.values, whole.values)
        np.testing.assert_array_equal(parts.present, whole.present)


def test_a_large_batch_in_the_default_setting(make_event: Make) -> None:
    """A few thousand events, read as the services read them, equal the slow reading."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "FEW", 32)
        events = [
            make_event({"overall_threat_score": number / 7}, syn_flag_count=number) for number in range(3000)
        ]
        check([event.SerializeToString() for event in events])
