"""Zeek's conn.log, with tabs and in JSON, labelled and not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.feed.readers.port import Skipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_connection_fills_both_directions_and_what_follows_from_them(
    feeds: Path, read_all: Callable[..., Any], only_events: Callable[..., Any]
) -> None:
    event = only_events(read_all("zeek-conn", feeds / "conn.log"))[0]
    features = event.network_features
    assert event.event_id == "Cone1"
    assert event.event_timestamp.ToNanoseconds() == 1767225600_123456_000
    assert (features.source_ip, features.destination_port) == ("10.1.0.4", 443)
    assert (features.total_forward_packets, features.total_backward_packets) == (4, 6)
    assert (features.total_forward_bytes, features.total_backward_bytes) == (400, 600)
    assert features.flow_duration.ToMicroseconds() == features.flow_duration_microseconds == 2_000_000
    assert (features.flow_bytes_per_second, features.flow_packets_per_second) == (500.0, 5.0)
    assert (features.forward_packet_length_mean, features.backward_packet_length_mean) == (100.0, 100.0)
    assert (features.average_packet_size, features.download_upload_ratio) == (100.0, 1.5)
    assert event.custom_metadata["service"] == "ssl"
    assert event.custom_metadata["conn_state"] == "SF"


def test_flags_are_counted_from_the_history_of_tcp_alone(
    feeds: Path, read_all: Callable[..., Any], only_events: Callable[..., Any]
) -> None:
    tcp, scan, icmp = only_events(read_all("zeek-conn", feeds / "conn.log"))
    features = tcp.network_features
    assert (features.syn_flag_count, features.ack_flag_count) == (2, 3)
    assert (features.fin_flag_count, features.rst_flag_count) == (2, 0)
    assert scan.network_features.syn_flag_count == 1
    assert icmp.network_features.syn_flag_count == 0


def test_unset_values_leave_fields_unset(
    feeds: Path, read_all: Callable[..., Any], only_events: Callable[..., Any]
) -> None:
    scan = only_events(read_all("zeek-conn", feeds / "conn.log"))[1]
    assert not scan.network_features.HasField("flow_duration")
    assert scan.network_features.flow_packets_per_second == 0
    assert "service" not in scan.custom_metadata
    assert "tunnel_parents" not in scan.custom_metadata


def test_no_mean_is_computed_where_payload_and_packets_do_not_agree(
    feeds: Path, read_all: Callable[..., Any], only_events: Callable[..., Any]
) -> None:
    icmp = only_events(read_all("zeek-conn", feeds / "conn.log"))[2]
    assert icmp.network_features.total_forward_bytes == 100
    assert icmp.network_features.forward_packet_length_mean == 0


def test_labels_decide_the_class_and_details_the_category(
    feeds: Path, read_all: Callable[..., Any], only_events: Callable[..., Any]
) -> None:
    events = only_events(read_all("zeek-conn", feeds / "conn.log"))
    assert [(e.final_classification, e.threat_category) for e in events] == [
        ("BENIGN", "Benign"),
        ("MALICIOUS", "Scan"),
        ("MALICIOUS", "Malicious"),
    ]


@pytest.mark.parametrize("mode", ["metadata", "none"])
def test_labels_leak_into_nothing_but_their_place(
    feeds: Path, read_all: Callable[..., Any], only_events: Callable[..., Any], mode: str
) -> None:
    for event in only_events(read_all("zeek-conn", feeds / "conn.log", labels=mode)):
        assert ("label" in event.custom_metadata) == (mode == "metadata")
        event.custom_metadata.pop("label", None)
        content = event.SerializeToString()
        assert not [word for word in (b"Malicious", b"Benign", b"Scan", b"Updates") if word in content]


def test_labels_glued_with_spaces_or_mixed_with_tabs_are_taken_apart(
    feeds: Path, read_all: Callable[..., Any]
) -> None:
    *events, refusal = read_all("zeek-conn", feeds / "conn-glued.log")
    assert [(e.final_classification, e.threat_category) for e in events] == [
        ("MALICIOUS", "C&C-HeartBeat"),
        ("BENIGN", "Benign"),
        ("MALICIOUS", "DDoS"),
    ]
    assert (refusal.line, refusal.reason) == (6, "wrong_column_count")


def test_json_is_read_with_dots_or_underscores_and_other_logs_are_skipped(
    feeds: Path, read_all: Callable[..., Any]
) -> None:
    first, other, second = read_all("zeek-conn", feeds / "conn.json")
    assert (first.network_features.protocol_number, first.network_features.protocol_name) == (58, "IPV6-ICMP")
    assert first.network_features.forward_packet_length_mean == 24.0
    assert first.event_timestamp.ToJsonString() == "2026-01-01T00:00:00.250Z"
    assert first.custom_metadata["local_orig"] == "true"
    assert other == Skipped("dns")
    assert (second.event_id, second.event_timestamp.ToJsonString()) == ("Cj2", "2026-01-01T00:00:01.500Z")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Src IP,Dst IP\n1,2\n", "wrong_format"),
        ('{"event_type":"flow"}\n', "wrong_format"),
        ("#separator \\x09\n#path\tdns\n#fields\tts\n", "wrong_format"),
        ("#fields\tts\tuid\tid.orig_h\tconn_state\n", "column_missing"),
        ("#fields\tts\tuid\tid.orig_h\tid.resp_h\tquery\n", "column_missing"),
        ("#separator \\x09\n1\t2\n", "column_missing"),
    ],
)
def test_another_log_is_refused_once(
    tmp_path: Path, read_all: Callable[..., Any], text: str, reason: str
) -> None:
    path = tmp_path / "some.log"
    path.write_text(text)
    (refusal,) = read_all("zeek-conn", path)
    assert (refusal.reason, refusal.row) == (reason, False)


def test_the_header_says_what_separates_and_what_is_unset(
    tmp_path: Path, read_all: Callable[..., Any], only_events: Callable[..., Any]
) -> None:
    path = tmp_path / "conn.log"
    path.write_text(
        "#separator \\x7c\n#unset_field|nil\n#fields|ts|uid|id.orig_h|id.resp_h|service|conn_state\n"
        "1767225600|C1|10.1.0.4|10.1.0.9|nil|SF\n"
    )
    (event,) = only_events(read_all("zeek-conn", path))
    assert dict(event.custom_metadata) == {"uid": "C1", "conn_state": "SF"}


def test_bad_json_rows_are_refused_one_by_one(tmp_path: Path, read_all: Callable[..., Any]) -> None:
    path = tmp_path / "conn.json"
    good = '{"ts":1767225600,"uid":"C1","id.orig_h":"10.1.0.4","id.resp_h":"10.1.0.9","conn_state":"SF"}\n'
    bad = [
        '{"ts": \n',
        "[1]\n",
        '{"ts":1,"id.orig_h":"10.1.0.4"}\n',
        good.replace("C1", "\\ud800"),
        "[" * 9999,
    ]
    path.write_text(good + "".join(bad[:-1]) + bad[-1] + "\n" + good)
    items = read_all("zeek-conn", path)
    reasons = [item.reason for item in items[1:-1]]
    assert reasons == ["bad_json", "bad_json", "column_missing", "bad_json", "bad_json"]
    assert items[0] == items[-1]
