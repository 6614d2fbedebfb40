"""Records that are sent again as if they had happened later."""

from __future__ import annotations

import pytest

from services.common.events.network_security_pb2 import EngineVerdict, NetworkSecurityEvent
from services.feed.rounds import Rounds

DAY = 86400


def event() -> NetworkSecurityEvent:
    made = NetworkSecurityEvent(event_id="e")
    made.event_timestamp.FromSeconds(1000)
    made.network_features.flow_start_time.FromSeconds(1000)
    made.network_features.flow_duration.FromSeconds(5)
    made.additional_model_predictions.add().prediction_timestamp.FromSeconds(1001)
    made.provenance.verdicts.append(EngineVerdict(timestamp_ns=1_000_000_000))
    return made


def test_round_zero_is_the_record_as_it_is() -> None:
    moved = event()
    Rounds(7).apply(moved, 0)
    assert moved == event()


def test_every_time_moves_by_the_shift_of_the_round_and_durations_do_not() -> None:
    moved = event()
    Rounds(1.5).apply(moved, 2)
    assert moved.event_id == "e-r2"
    assert moved.event_timestamp.seconds == 1000 + 3 * DAY
    assert moved.network_features.flow_start_time.seconds == 1000 + 3 * DAY
    assert moved.network_features.flow_duration.seconds == 5
    assert moved.additional_model_predictions[0].prediction_timestamp.seconds == 1001 + 3 * DAY
    assert moved.provenance.verdicts[0].timestamp_ns == 1_000_000_000 + 3 * DAY * 1_000_000_000


def test_nothing_is_set_that_was_not() -> None:
    moved = NetworkSecurityEvent(event_id="e")
    Rounds(1).apply(moved, 1)
    assert moved == NetworkSecurityEvent(event_id="e-r1")


def test_a_time_that_leaves_the_calendar_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="Timestamp"):
        Rounds(4e6).apply(event(), 1)
