"""The columns of a batch are what the events say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from services.common.events.parse import parse_event
from services.common.events.table import EventTable, tabulate

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.events.network_security_pb2 import NetworkSecurityEvent

    Make = Callable[..., NetworkSecurityEvent]


def table_of(*events: NetworkSecurityEvent) -> EventTable:
    payloads = [event.SerializeToString(deterministic=True) for event in events]
    return tabulate([parse_event(payload) for payload in payloads], payloads)


def test_every_column_is_read(make_event: Make) -> None:
    """Each column holds its field, canonical addresses and totals of both directions."""
    event = make_event(
        {
            "threat_category": "DoS",
            "final_classification": "MALICIOUS",
            "overall_threat_score": 0.9,
            "fast_detector_score": 0.75,
            "ml_detector_score": 0.25,
            "authoritative_source": 6,
            "fast_detector_triggered": True,
            "fast_detector_reason": "syn rate",
            "event_tags": ["a", "b"],
            "custom_metadata": {"label": "DoS Hulk", "other": "x"},
        },
        source_ip="2001:DB8::0:1",
    )
    table = table_of(event)
    assert len(table) == 1
    assert table.payloads == [event.SerializeToString(deterministic=True)]
    assert (table.event_id, table.node) == (["e-1"], ["node-a"])
    assert table.time_ns.tolist() == [1_500_000_000_000_000_250]
    assert (table.src_ip, table.dst_ip) == (["2001:db8::1"], ["8.8.8.8"])
    assert (table.src_port[0], table.dst_port[0], table.protocol[0]) == (50_000, 443, 6)
    assert (table.category, table.klass, table.label) == (["DoS"], ["MALICIOUS"], ["DoS Hulk"])
    assert table.overall[0] == np.float32(0.9)
    assert (table.fast[0], table.ml[0], table.divergence[0]) == (0.75, 0.25, 0.5)
    assert (table.source[0], table.fast_triggered[0]) == (6, True)
    assert (table.fast_reason, table.tags) == (["syn rate"], ["a,b"])
    assert (table.packets[0], table.bytes[0]) == (15.0, 3000.0)


def test_column_types_are_those_promised(make_event: Make) -> None:
    """The dtypes of an empty table and of a full one are the same."""
    for table in (table_of(), table_of(make_event())):
        dtypes = [
            table.time_ns.dtype, table.src_port.dtype, table.dst_port.dtype, table.protocol.dtype,
            table.overall.dtype, table.divergence.dtype, table.source.dtype, table.fast_triggered.dtype,
            table.packets.dtype, table.bytes.dtype,
        ]  # fmt: skip
        assert [str(dtype) for dtype in dtypes] == [
            "int64", "uint16", "uint16", "uint8", "float32", "float32", "uint8", "bool", "float64", "float64",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"decision_metadata": {"score_divergence": 0.5}, "provenance": {"discrepancy_score": 0.25}}, 0.5),
        ({"decision_metadata": {"score_divergence": 0.0}, "provenance": {"discrepancy_score": 0.25}}, 0.25),
        ({"fast_detector_score": 1.0, "ml_detector_score": 0.25}, 0.75),
        ({"fast_detector_score": 1.0}, 0.0),
        ({}, 0.0),
    ],
    ids=["decision", "provenance", "both scores", "one score", "nothing"],
)
def test_divergence_is_taken_from_the_best_source(make_event: Make, fields: dict, expected: float) -> None:
    """The decision's divergence wins, then the provenance's, then the distance of two scores that are set."""
    assert table_of(make_event(fields)).divergence[0] == expected


def test_numbers_that_are_none_become_zero(make_event: Make) -> None:
    """NaN, infinity and -9999 are no scores, 70000 is no port and 300 no protocol."""
    scores = {
        "overall_threat_score": float("nan"),
        "fast_detector_score": float("inf"),
        "ml_detector_score": -9999.0,
    }
    table = table_of(make_event(scores, destination_port=70_000, protocol_number=300))
    assert (table.overall[0], table.fast[0], table.ml[0], table.divergence[0]) == (0, 0, 0, 0)
    assert (table.dst_port[0], table.protocol[0]) == (0, 0)


def test_a_score_beyond_float32_is_clipped(make_event: Make) -> None:
    """A double no float32 can hold stays finite."""
    assert np.isfinite(table_of(make_event({"overall_threat_score": 1e300})).overall[0])


def test_take_gives_rows_in_the_order_asked(make_event: Make) -> None:
    """Rows come in the given order, repeated where named twice, and are copies."""
    table = table_of(
        *(make_event({"event_id": f"e-{number}"}, destination_port=number) for number in range(4))
    )
    taken = table.take([3, 1, 1])
    assert taken.event_id == ["e-3", "e-1", "e-1"]
    assert taken.dst_port.tolist() == [3, 1, 1]
    taken.dst_port[0] = 9
    assert table.dst_port.tolist() == [0, 1, 2, 3]
    assert len(table.take([])) == 0


def test_as_many_payloads_as_events(make_event: Make) -> None:
    """A batch whose two lists differ in length is a programming error and is named."""
    with pytest.raises(ValueError, match="1 events cannot have 0 payloads"):
        tabulate([make_event()], [])
