"""CICFlowMeter's CSV in its dialects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.feed.readers.port import Refusal, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEADER = "Src IP,Src Port,Dst IP,Dst Port,Protocol,Timestamp,Total Fwd Packet,Label\n"
ROW = "10.1.0.4,1,10.1.0.9,2,6,2026-03-02 10:00:00,3,BENIGN\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "flows.csv"
    path.write_text(text)
    return path


def test_a_row_of_the_java_program_fills_the_fields_of_the_contract(
    feeds: Path, read_all: Callable[..., Any], only_events: Callable[..., Any]
) -> None:
    event, _ = only_events(read_all("cicflowmeter", feeds / "java.csv"))
    features = event.network_features
    assert event.event_timestamp.ToJsonString() == "2026-03-02T10:00:00.250Z"
    assert features.flow_start_time == event.event_timestamp
    assert event.originating_node_id == "feed-cicflowmeter"
    assert (features.source_ip, features.source_port) == ("10.1.0.4", 50001)
    assert (features.destination_ip, features.destination_port) == ("10.1.0.9", 443)
    assert (features.protocol_number, features.protocol_name) == (6, "TCP")
    assert features.flow_duration_microseconds == 1_500_000
    assert features.flow_duration.ToMicroseconds() == 1_500_000
    assert (features.total_forward_packets, features.total_backward_packets) == (4, 3)
    assert (features.total_forward_bytes, features.total_backward_bytes) == (400, 900)
    assert (features.flow_bytes_per_second, features.flow_inter_arrival_time_mean) == (866.7, 250000.5)
    assert (features.flow_inter_arrival_time_max, features.syn_flag_count) == (600000, 2)
    assert (features.forward_header_length, features.minimum_packet_length) == (80.0, 40)
    assert features.download_upload_ratio == 0.75


def test_columns_without_a_field_are_kept_as_text_under_their_name(
    feeds: Path, read_all: Callable[..., Any], only_events: Callable[..., Any]
) -> None:
    event, _ = only_events(read_all("cicflowmeter", feeds / "java.csv"))
    assert dict(event.custom_metadata) == {
        "id": "1",
        "Flow ID": "a-b",
        "Active Std": "0",
        "FWD Init Win Bytes": "-1",
        "Attempted Category": "-1",
        "label": "BENIGN",
    }


def test_missing_values_leave_fields_unset_and_misfits_are_kept_as_they_were(
    feeds: Path, read_all: Callable[..., Any], only_events: Callable[..., Any]
) -> None:
    _, event = only_events(read_all("cicflowmeter", feeds / "java.csv"))
    features = event.network_features
    assert (features.flow_bytes_per_second, features.flow_inter_arrival_time_mean) == (0, 0)
    assert features.flow_inter_arrival_time_max == 0
    assert "Flow Bytes/s" not in event.custom_metadata
    assert features.minimum_packet_length == 0
    assert event.custom_metadata["Packet Length Min"] == "-1"


def test_the_data_set_of_2017_is_read_with_its_spaces_dashes_and_empty_rows(
    feeds: Path, read_all: Callable[..., Any]
) -> None:
    event, empty = read_all("cicflowmeter", feeds / "dataset-2017.csv")
    features = event.network_features
    assert event.event_timestamp.ToJsonString() == "2026-03-02T03:05:00Z"
    assert (features.total_forward_packets, features.total_forward_bytes) == (2, 12)
    assert (features.forward_header_length, features.average_forward_segment_size) == (40.0, 6.0)
    assert event.custom_metadata["Fwd Header Length"] == "40"
    assert event.custom_metadata["Init_Win_bytes_forward"] == "8192"
    assert event.threat_category == "Web Attack \N{EN DASH} XSS"
    assert empty == Skipped("empty_row")


def test_times_of_the_python_rewrite_are_seconds(
    feeds: Path, read_all: Callable[..., Any], only_events: Callable[..., Any]
) -> None:
    (event,) = only_events(read_all("cicflowmeter", feeds / "python.csv"))
    features = event.network_features
    assert features.flow_duration_microseconds == 1_500_000
    assert features.flow_inter_arrival_time_mean == 250_000.0
    assert features.flow_inter_arrival_time_max == 600_000
    assert features.forward_inter_arrival_time_total == 1_250_000.0
    assert features.flow_bytes_per_second == 200.5
    assert features.total_forward_bytes == 300
    assert features.syn_flag_count == 1


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("classification", ("MALICIOUS", "SSH-Patator - Attempted", "SSH-Patator - Attempted")),
        ("metadata", ("", "", "SSH-Patator - Attempted")),
        ("none", ("", "", "")),
    ],
)
def test_a_label_goes_where_its_mode_says_and_nowhere_else(
    feeds: Path, read_all: Callable[..., Any], mode: str, expected: tuple[str, str, str]
) -> None:
    _, event = read_all("cicflowmeter", feeds / "java.csv", labels=mode)
    label = event.custom_metadata.get("label", "")
    assert (event.final_classification, event.threat_category, label) == expected
    if mode != "classification":
        assert "Attempted Category" not in event.custom_metadata
    if mode == "none":
        assert b"Patator" not in event.SerializeToString()


@pytest.mark.parametrize("word", ["BENIGN", "Benign", "normal", "Background"])
def test_the_words_for_benign_are_known(
    tmp_path: Path, read_all: Callable[..., Any], only_events: Callable[..., Any], word: str
) -> None:
    (event,) = only_events(read_all("cicflowmeter", write(tmp_path, HEADER + ROW.replace("BENIGN", word))))
    assert (event.final_classification, event.threat_category) == ("BENIGN", word)


@pytest.mark.parametrize("word", ["", "NeedManualLabel", "No Label"])
def test_a_row_nobody_labelled_has_no_label(
    tmp_path: Path, read_all: Callable[..., Any], only_events: Callable[..., Any], word: str
) -> None:
    (event,) = only_events(read_all("cicflowmeter", write(tmp_path, HEADER + ROW.replace("BENIGN", word))))
    assert (event.final_classification, event.threat_category) == ("", "")
    assert "label" not in event.custom_metadata


def test_bad_rows_are_refused_with_their_line_and_the_rest_is_read(
    tmp_path: Path, read_all: Callable[..., Any]
) -> None:
    bad = [
        "10.1.0.4,1,10.1.0.9,2,6,yesterday,3,BENIGN\n",
        "10.1.0.400,1,10.1.0.9,2,6,2026-03-02 10:00:00,3,BENIGN\n",
        "10.1.0.4,1,,2,6,2026-03-02 10:00:00,3,BENIGN\n",
        "10.1.0.4,x,10.1.0.9,2,6,2026-03-02 10:00:00,3,BENIGN\n",
        "10.1.0.4,1\n",
    ]
    items = read_all("cicflowmeter", write(tmp_path, HEADER + "".join(bad) + ROW))
    found = [(item.line, item.reason) for item in items[:-1]]
    assert found == [
        (2, "bad_timestamp"),
        (3, "bad_source_ip"),
        (4, "no_destination_ip"),
        (5, "bad_value"),
        (6, "wrong_column_count"),
    ]
    assert not isinstance(items[-1], Refusal)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#separator \\x09\n#fields\tts\n1\n", "wrong_format"),
        ('{"event_type":"flow"}\n', "wrong_format"),
        ("Destination Port,Flow Duration,Label\n1,2,BENIGN\n", "column_missing"),
    ],
)
def test_a_file_that_cannot_be_events_is_refused_once(
    tmp_path: Path, read_all: Callable[..., Any], text: str, reason: str
) -> None:
    (refusal,) = read_all("cicflowmeter", write(tmp_path, text))
    assert (refusal.source, refusal.line, refusal.reason) == ("flows.csv", 1, reason)
    assert not refusal.row


def test_the_same_rows_have_the_same_distinct_ids_in_every_run(
    tmp_path: Path, read_all: Callable[..., Any], only_events: Callable[..., Any]
) -> None:
    path = write(tmp_path, HEADER + ROW + ROW)
    first, second = (only_events(read_all("cicflowmeter", path)) for _ in range(2))
    assert [e.event_id for e in first] == [e.event_id for e in second]
    assert len({e.event_id for e in first}) == 2


def test_quotes_repeated_headers_and_addresses_as_numbers_are_understood(
    tmp_path: Path, read_all: Callable[..., Any]
) -> None:
    header = "Src IP dec,Dst IP dec,Timestamp,Label\n"
    items = read_all(
        "cicflowmeter", write(tmp_path, header + '167837700,167837705,"2026-03-02 10:00:00","a,b"\n' + header)
    )
    assert items[0].network_features.source_ip == "10.1.0.4"
    assert items[0].threat_category == "a,b"
    assert items[1] == Skipped("repeated_header")


def test_a_node_name_can_be_given(
    tmp_path: Path, read_all: Callable[..., Any], only_events: Callable[..., Any]
) -> None:
    (event,) = only_events(read_all("cicflowmeter", write(tmp_path, HEADER + ROW), node="lab"))
    assert event.originating_node_id == "lab"


@pytest.mark.parametrize("value", ["1e999", "9" * 400, "-9" + "9" * 400, "nan", "inf", "4294967296", "2.5"])
def test_no_number_however_odd_ends_the_reading(
    tmp_path: Path, read_all: Callable[..., Any], only_events: Callable[..., Any], value: str
) -> None:
    row = f"10.1.0.4,{value},10.1.0.9,2,6,2026-03-02 10:00:00,3,BENIGN\n"
    (event,) = only_events(read_all("cicflowmeter", write(tmp_path, HEADER + row)))
    assert event.network_features.source_port == 0


def test_the_rewrite_is_read_in_the_unit_that_each_row_shows(
    tmp_path: Path, read_all: Callable[..., Any]
) -> None:
    """Releases of the rewrite write seconds or microseconds under the same names; rate and packets tell which."""
    header = "src_ip,dst_ip,timestamp,flow_duration,flow_pkts_s,tot_fwd_pkts,tot_bwd_pkts,flow_iat_max\n"
    place = "10.1.0.4,10.1.0.9,2026-03-02 10:00:00"
    microseconds = f"{place},2000000,2.5,3,2,900000\n"
    seconds = f"{place},2.0,2.5,3,2,0.9\n"
    single = f"{place},0,0,1,0,0\n"
    path = write(tmp_path, header + single + microseconds + seconds)
    events = [event for event in read_all("cicflowmeter", path) if not isinstance(event, Refusal)]
    durations = [event.network_features.flow_duration_microseconds for event in events]
    pauses = [event.network_features.flow_inter_arrival_time_max for event in events]
    assert durations == [0, 2_000_000, 2_000_000]
    assert pauses == [0, 900_000, 900_000]


def test_the_recorded_sample_has_believable_durations(read_all: Callable[..., Any], feeds: Path) -> None:
    """No flow of a recording of five minutes lasts longer than it."""
    sample = feeds.parents[2] / "samples" / "office-day.csv.gz"
    durations = [
        event.network_features.flow_duration_microseconds for event in read_all("cicflowmeter", sample)
    ]
    assert len(durations) == 7853
    assert 60_000_000 < max(durations) < 300_000_000
