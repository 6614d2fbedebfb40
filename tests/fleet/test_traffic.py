"""Each line that a sensor of the fleet writes is one event of its own, told again by reading the file again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fleet.traffic import FlowMeterTraffic, ZeekTraffic, event_ids, office_rows

from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.feed.readers import reader_of
from services.feed.readers.port import ReadOptions

if TYPE_CHECKING:
    from pathlib import Path

    from fleet.traffic import Traffic

NOW = 1_795_000_000.25
ROWS = office_rows()[:300]


@pytest.fixture(params=[FlowMeterTraffic, ZeekTraffic], ids=["cicflowmeter", "zeek-conn"])
def traffic(request: pytest.FixtureRequest) -> Traffic:
    made: Traffic = request.param(ROWS)
    return made


def write(path: Path, traffic: Traffic, lines: int) -> None:
    path.write_text(traffic.first_line() + "".join(traffic.line(NOW) for _ in range(lines)))


def test_every_line_is_an_event_of_its_own_also_when_the_recording_begins_again(
    tmp_path: Path, traffic: Traffic
) -> None:
    write(tmp_path / "seen", traffic, 2 * len(ROWS))
    ids = list(event_ids(tmp_path / "seen", traffic.format))
    assert len(ids) == len(set(ids)) == 2 * len(ROWS)
    assert ids == list(event_ids(tmp_path / "seen", traffic.format))


def test_a_flow_began_when_it_was_seen_and_keeps_who_spoke_with_whom(
    tmp_path: Path, traffic: Traffic
) -> None:
    write(tmp_path / "seen", traffic, 3)
    events = list(reader_of(traffic.format).read(str(tmp_path / "seen"), ReadOptions()))
    for event, row in zip(events, ROWS, strict=False):
        assert isinstance(event, NetworkSecurityEvent)
        assert event.event_timestamp.ToNanoseconds() == int(NOW) * 10**9 + 250_000_000
        assert event.network_features.source_ip == row["src_ip"]
        assert event.network_features.total_forward_bytes == int(row["totlen_fwd_pkts"])
        assert event.threat_category == row["label"]


def test_a_line_that_is_no_event_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "seen").write_text(ZeekTraffic(ROWS).line(NOW) + "{}\n")
    with pytest.raises(AssertionError):
        list(event_ids(tmp_path / "seen", "zeek-conn"))
