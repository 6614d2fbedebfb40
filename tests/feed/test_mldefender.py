"""The sensors' own events, as JSON lines and as artifacts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from services.common.errors import UsageError
from services.common.events.network_security_pb2 import DetectorSource, NetworkSecurityEvent
from services.common.wire.keys import ML_DETECTOR_TO_FIREWALL, RAG_ARTIFACTS
from services.common.wire.v1 import V1Sealer
from services.feed.readers.port import Refusal, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEED = bytes(range(32))


def event(event_id: str) -> NetworkSecurityEvent:
    made = NetworkSecurityEvent(event_id=event_id, final_classification="MALICIOUS")
    made.event_timestamp.FromSeconds(1_772_452_800)
    made.network_features.source_ip = "10.1.0.4"
    made.network_features.destination_ip = "10.1.0.9"
    made.custom_metadata["label"] = "DDoS"
    return made


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts" / "2026-03-02"
    folder.mkdir(parents=True)
    (folder / "event_1.pb").write_bytes(event("1").SerializeToString())
    sealed = V1Sealer(SEED, RAG_ARTIFACTS, boot=1).seal(event("2").SerializeToString())
    (folder / "event_2.pb.enc").write_bytes(sealed)
    (folder / "notes.txt").write_text("not an event")
    return folder.parent


def test_names_may_be_camel_or_snake_case(feeds: Path, read_all: Callable[..., Any]) -> None:
    camel, snake, *_ = read_all("mldefender-jsonl", feeds / "events.jsonl")
    assert (camel.event_id, camel.originating_node_id) == ("s-1", "sniffer-1")
    assert camel.network_features.total_forward_bytes == 400
    assert camel.final_classification == "MALICIOUS"
    assert snake.event_timestamp.ToJsonString() == "2026-03-02T10:00:01Z"
    assert snake.authoritative_source == DetectorSource.DETECTOR_SOURCE_CONSENSUS


def test_fields_the_contract_does_not_know_are_kept_in_the_metadata(
    feeds: Path, read_all: Callable[..., Any]
) -> None:
    later = read_all("mldefender-jsonl", feeds / "events.jsonl")[1]
    assert json.loads(later.custom_metadata["later_field"]) == [1, 2]
    assert json.loads(later.custom_metadata["network_features.new_measure"]) == {"a": 1}


def test_a_missing_node_is_filled_in_and_a_given_one_stays(feeds: Path, read_all: Callable[..., Any]) -> None:
    first, second, *_ = read_all("mldefender-jsonl", feeds / "events.jsonl", node="archive")
    assert (first.originating_node_id, second.originating_node_id) == ("sniffer-1", "archive")


def test_lines_that_are_no_event_are_refused_with_the_reason_a_receiver_would_give(
    feeds: Path, read_all: Callable[..., Any]
) -> None:
    items = read_all("mldefender-jsonl", feeds / "events.jsonl")
    found = [(item.line, item.reason) for item in items[2:]]
    assert found == [(3, "no_event_timestamp"), (4, "not_an_event"), (5, "bad_json")]


def test_without_labels_the_label_goes_and_the_verdict_stays(
    feeds: Path, read_all: Callable[..., Any]
) -> None:
    first = read_all("mldefender-jsonl", feeds / "events.jsonl", labels="none")[0]
    assert "label" not in first.custom_metadata
    assert first.final_classification == "MALICIOUS"


def test_a_file_that_is_no_json_is_refused_once(feeds: Path, read_all: Callable[..., Any]) -> None:
    (refusal,) = read_all("mldefender-jsonl", feeds / "java.csv")
    assert refusal.reason == "wrong_format"


def test_artifacts_are_read_plain_and_encrypted(artifacts: Path, read_all: Callable[..., Any]) -> None:
    first, second, other = read_all("mldefender-pb", artifacts, seeds=(SEED,))
    assert (first.event_id, second.event_id) == ("1", "2")
    assert first.SerializeToString(deterministic=True) == event_with_node("1")
    assert other == Skipped("other_file")


def event_with_node(event_id: str) -> bytes:
    expected = event(event_id)
    expected.originating_node_id = "feed-mldefender-pb"
    return expected.SerializeToString(deterministic=True)


def test_one_artifact_can_be_named(artifacts: Path, read_all: Callable[..., Any]) -> None:
    (only,) = read_all("mldefender-pb", artifacts / "2026-03-02" / "event_1.pb")
    assert only.event_id == "1"


@pytest.mark.parametrize(("seeds", "reason"), [((), "no_seed"), ((bytes(32),), "bad_tag")])
def test_an_encrypted_artifact_needs_its_seed(
    artifacts: Path, read_all: Callable[..., Any], seeds: tuple[bytes, ...], reason: str
) -> None:
    refusal = read_all("mldefender-pb", artifacts, seeds=seeds)[1]
    assert (refusal.source, refusal.reason) == ("2026-03-02/event_2.pb.enc", reason)


def test_a_frame_of_another_channel_is_refused(tmp_path: Path, read_all: Callable[..., Any]) -> None:
    sealed = V1Sealer(SEED, ML_DETECTOR_TO_FIREWALL, boot=1).seal(event("2").SerializeToString())
    (tmp_path / "event_2.pb.enc").write_bytes(sealed)
    (refusal,) = read_all("mldefender-pb", tmp_path, seeds=(SEED,))
    assert refusal.reason == "bad_tag"


def test_bad_artifacts_are_refused_and_the_rest_is_read(
    artifacts: Path, read_all: Callable[..., Any]
) -> None:
    folder = artifacts / "2026-03-02"
    (folder / "event_0.pb").write_bytes(b"\xff\xff")
    (folder / "event_00.pb").write_bytes(b"")
    (folder / "event_000.pb").write_bytes(bytes((1 << 20) + 1))
    (folder / "event_0000.pb.enc").write_bytes(b"short")
    items = read_all("mldefender-pb", artifacts, seeds=(SEED,))
    reasons = {item.source.rpartition("/")[2]: item.reason for item in items if isinstance(item, Refusal)}
    assert reasons == {
        "event_0.pb": "not_an_event",
        "event_00.pb": "no_event_id",
        "event_000.pb": "too_long",
        "event_0000.pb.enc": "too_short",
    }
    assert len(items) == 7


def test_artifacts_are_not_followed_and_not_piped(artifacts: Path, read_all: Callable[..., Any]) -> None:
    with pytest.raises(UsageError):
        read_all("mldefender-pb", "-")
    with pytest.raises(UsageError):
        read_all("mldefender-pb", artifacts, follow=True)
