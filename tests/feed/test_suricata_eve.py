"""Suricata's eve.json: flows, and the alerts that join them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from services.common.events.network_security_pb2 import DetectorSource
from services.feed.readers.port import Item, ReadOptions, Skipped
from services.feed.readers.suricata_eve import SuricataEveReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def alert(flow_id: int, second: int, **changes: object) -> dict[str, object]:
    record: dict[str, object] = {
        "timestamp": f"2026-03-02T10:00:{second:02}.000000+0000",
        "flow_id": flow_id,
        "event_type": "alert",
        "src_ip": "10.1.0.7",
        "dest_ip": "10.1.0.9",
        "proto": "TCP",
        "alert": {"signature": "s", "category": "c", "severity": 1},
    }
    return record | changes


def flow(flow_id: int) -> dict[str, object]:
    times = {"start": "2026-03-02T10:00:00.000000+0000", "end": "2026-03-02T10:00:01.000000+0000"}
    return alert(flow_id, 50) | {"event_type": "flow", "flow": times}


def read_records(folder: Path, records: list[dict[str, object]], reader: SuricataEveReader) -> list[Item]:
    path = folder / "eve.json"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return list(reader.read(str(path), ReadOptions()))


def test_a_flow_fills_the_fields_of_the_contract(feeds: Path, read_all: Callable[..., Any]) -> None:
    event = read_all("suricata-eve", feeds / "eve.json")[1]
    features = event.network_features
    assert event.event_timestamp.ToJsonString() == "2026-03-02T09:00:00.500Z"
    assert event.event_id == "11-1772442000500000"
    assert (features.total_forward_packets, features.total_backward_packets) == (10, 5)
    assert (features.total_forward_bytes, features.total_backward_bytes) == (1000, 500)
    assert features.flow_duration_microseconds == 2_000_000
    assert (features.flow_bytes_per_second, features.packet_length_mean) == (750.0, 100.0)
    assert (features.syn_flag_count, features.fin_flag_count, features.rst_flag_count) == (1, 1, 0)
    assert (features.forward_psh_flags, features.backward_psh_flags, features.forward_urg_flags) == (1, 0, 0)
    assert features.source_interface == "eth1"
    assert event.custom_metadata["app_proto"] == "ssh"
    assert event.custom_metadata["flow.state"] == "closed"


def test_alerts_join_their_flow_and_the_most_severe_leads(feeds: Path, read_all: Callable[..., Any]) -> None:
    event = read_all("suricata-eve", feeds / "eve.json")[1]
    assert event.fast_detector_triggered
    assert event.fast_detector_reason == "Known bad host"
    assert (event.fast_detector_score, event.overall_threat_score) == (1.0, 1.0)
    assert event.authoritative_source == DetectorSource.DETECTOR_SOURCE_FAST_ONLY
    assert (event.final_classification, event.threat_category) == ("MALICIOUS", "Misc Attack")
    assert event.custom_metadata["alert.count"] == "2"
    assert event.custom_metadata["alert.signatures"] == "Known bad host; Many logins"
    verdicts = [(v.engine_name, v.reason_code, round(v.confidence, 2)) for v in event.provenance.verdicts]
    assert verdicts == [("suricata", "Many logins", 0.66), ("suricata", "Known bad host", 1.0)]


def test_a_flow_without_alert_gets_no_classification(feeds: Path, read_all: Callable[..., Any]) -> None:
    event = read_all("suricata-eve", feeds / "eve.json")[2]
    assert (event.final_classification, event.threat_category) == ("", "")
    assert not event.fast_detector_triggered
    assert event.network_features.HasField("flow_duration")
    assert event.network_features.flow_packets_per_second == 0


def test_an_alert_without_its_flow_is_an_event_of_its_own(feeds: Path, read_all: Callable[..., Any]) -> None:
    event = read_all("suricata-eve", feeds / "eve.json")[-1]
    assert event.event_id.startswith("13-1772442002900000-alert-")
    assert event.fast_detector_reason == "Odd packet"
    assert event.network_features.total_forward_packets == 1
    assert event.custom_metadata["alert.signature_id"] == "3"


def test_other_records_are_skipped_by_type(feeds: Path, read_all: Callable[..., Any]) -> None:
    items = read_all("suricata-eve", feeds / "eve.json")
    assert [item for item in items if isinstance(item, Skipped)] == [Skipped("dns")]
    assert len(items) == 4


@pytest.mark.parametrize("mode", ["metadata", "none"])
def test_without_classification_the_detector_speaks_and_the_class_stays_empty(
    feeds: Path, read_all: Callable[..., Any], mode: str
) -> None:
    event = read_all("suricata-eve", feeds / "eve.json", labels=mode)[1]
    assert (event.final_classification, event.threat_category) == ("", "")
    assert event.fast_detector_triggered


def test_alerts_that_fill_their_room_leave_it_as_events_oldest_first(tmp_path: Path) -> None:
    records = [alert(1, 1), alert(2, 2), alert(3, 3), flow(1), flow(3)]
    room = 2 * len(json.dumps(records[0])) + 10
    items = read_records(tmp_path, records, SuricataEveReader(waiting_bytes=room))
    ids = [item.event_id.split("-")[0] for item in items]
    assert ids == ["1", "1", "3", "2"]
    assert [item.fast_detector_triggered for item in items] == [True, False, True, True]


def test_alerts_that_have_waited_too_long_leave(tmp_path: Path) -> None:
    records = [alert(1, 1), alert(2, 30), flow(1), flow(2)]
    items = read_records(tmp_path, records, SuricataEveReader(longest_wait_us=10_000_000))
    assert [item.fast_detector_triggered for item in items] == [True, False, True]


def test_an_alert_after_its_flow_is_not_lost(tmp_path: Path) -> None:
    items = read_records(tmp_path, [flow(1), alert(1, 5)], SuricataEveReader())
    assert [item.fast_detector_triggered for item in items] == [False, True]
    assert items[0].event_id != items[1].event_id


def test_records_without_what_they_need_are_refused_with_their_line(tmp_path: Path) -> None:
    no_type = {"timestamp": "2026-03-02T10:00:00Z"}
    no_id = {key: value for key, value in flow(1).items() if key != "flow_id"}
    no_start = flow(2) | {"flow": {}}
    bad_alert = alert(3, 1, alert=None)
    bad_address = alert(4, 1, src_ip="nowhere")
    items = read_records(
        tmp_path, [flow(9), no_type, no_id, no_start, bad_alert, bad_address], SuricataEveReader()
    )
    assert [(item.line, item.reason) for item in items[1:]] == [
        (2, "no_event_type"),
        (3, "no_flow_id"),
        (4, "no_timestamp"),
        (5, "bad_alert"),
        (6, "bad_source_ip"),
    ]


def test_severities_that_are_none_score_lowest(tmp_path: Path) -> None:
    odd = [alert(n, 1, alert={"severity": value}) for n, value in enumerate((4, 0, -1, "x", None, 2.5))]
    items = read_records(tmp_path, odd, SuricataEveReader())
    assert [item.fast_detector_score for item in items] == [0.1] * 6


def test_a_file_of_another_format_is_refused_once(feeds: Path, read_all: Callable[..., Any]) -> None:
    (refusal,) = read_all("suricata-eve", feeds / "conn.json")
    assert (refusal.reason, refusal.row) == ("wrong_format", False)
