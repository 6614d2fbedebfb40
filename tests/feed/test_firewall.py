"""Decisions of firewalls are read from the CSV of agents, whatever its columns are called, and from batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.common.errors import UsageError
from services.common.events.network_security_pb2 import Detection, DetectionBatch
from services.feed.main import FeedOptions, run_feed
from services.feed.readers import READERS
from services.feed.readers.port import ReadOptions, Refusal, Skipped
from services.feed.sender import SenderCounts

if TYPE_CHECKING:
    from pathlib import Path

NOON = 1_769_083_200 * 10**9


def read(path: Path, name: str = "firewall-csv") -> list[Any]:
    return list(READERS[name].read(str(path), ReadOptions()))


@pytest.fixture
def table(tmp_path: Path) -> Any:
    """`table(header, row...)`: what is read of such a file."""

    def make(*lines: str) -> list[Any]:
        path = tmp_path / "decisions.csv"
        path.write_text("\n".join(lines) + "\n")
        return read(path)

    return make


def test_the_agents_csv(feeds: Path) -> None:
    """Times in three units, scores as parts and per cent, durations with units, kinds by their words."""
    items = read(feeds / "firewall.csv")
    first, second, third, fourth = [item for item in items if isinstance(item, Detection)]
    assert first == Detection(
        src_ip="203.0.113.9",
        type="DETECTION_DDOS",
        timestamp=NOON,
        confidence=0.97,
        action="BLOCKED",
        duration_seconds=3600,
        description="rate limit 7",
    )
    assert (second.timestamp, second.duration_seconds) == (NOON + 5_123_000_000, 3600)
    assert second.confidence == pytest.approx(0.88)
    assert second.description == "canary, file server"
    assert (third.src_ip, third.type, third.description) == ("2001:db8::9", 0, "PortScan")
    assert (fourth.action, fourth.confidence, fourth.duration_seconds) == ("unblock", 1.0, 0)
    assert [(item.line, item.reason) for item in items if isinstance(item, Refusal)] == [
        (6, "bad_source_ip"),
        (7, "bad_value"),
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1500ms", 2),
        ("15 min", 900),
        ("2d", 172_800),
        ("permanent", 31_622_400),
        ("-", 0),
    ],
)
def test_durations(table: Any, text: str, seconds: int) -> None:
    """Seconds, or another unit that is named; what is never to end is a year."""
    (item,) = table("time;ip;action;timeout", f"2026-01-22T12:00:00Z;10.0.0.1;BLOCK;{text}")
    assert item.duration_seconds == seconds


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("colour,shape", "red,round"), "wrong_format"),
        (("ip,action", "10.0.0.1,BLOCK"), "column_missing"),
        (("timestamp,src_ip,dst_ip,flow_duration", "2026-01-22,10.0.0.1,10.0.0.2,1"), "column_missing"),
        (("time,ip,action", "2026-01-22T12:00:00Z"), "wrong_column_count"),
        (("time,ip,action", ",10.0.0.1,DROP"), "no_timestamp"),
        (("time,ip,action", "yesterday,10.0.0.1,DROP"), "bad_timestamp"),
        (("time,ip,action", "2026-01-22T12:00:00Z,,DROP"), "no_source_ip"),
        (("time,ip,action,ttl", "2026-01-22T12:00:00Z,10.0.0.1,DROP,a while"), "bad_value"),
        (("time,ip,action,score", "2026-01-22T12:00:00Z,10.0.0.1,DROP,nan"), "bad_value"),
        (("time,ip,action,score", "2026-01-22T12:00:00Z,10.0.0.1,DROP,101"), "bad_value"),
    ],
)
def test_what_is_no_decision_is_refused_by_name(table: Any, lines: tuple[str, ...], reason: str) -> None:
    """A file whose header says nothing of decisions is refused as a whole, a row by itself."""
    (item,) = table(*lines)
    assert (type(item), item.reason) == (Refusal, reason)


def test_headers_that_repeat_and_empty_rows_are_no_decisions(table: Any) -> None:
    """Files that were joined have their header again."""
    items = table("time,ip,action", "2026-01-22T12:00:00Z,10.0.0.1,DROP", "time,ip,action", ",,")
    assert [item for item in items if isinstance(item, Skipped)] == [
        Skipped("repeated_header"),
        Skipped("empty_row"),
    ]


def test_batches_of_the_contract(tmp_path: Path) -> None:
    """A file is one batch; a decision without a time has the batch's; other files are skipped or refused."""
    batch = DetectionBatch(
        detections=[Detection(src_ip="10.0.0.1"), Detection(src_ip="10.0.0.2", timestamp=7)]
    )
    batch.batch_timestamp.FromSeconds(NOON // 10**9)
    (tmp_path / "a.pb").write_bytes(batch.SerializeToString())
    (tmp_path / "b.pb").write_bytes(b"\xff\xff\xff")
    (tmp_path / "c.txt").write_bytes(b"")
    (tmp_path / "d.pb").write_bytes(b"")
    first, second, *others = read(tmp_path, "detections-pb")
    assert (first.timestamp, second.timestamp) == (NOON // 10**9, 7)
    assert [getattr(item, "reason", None) for item in others] == ["not_decisions", None, "not_decisions"]


class _Sender:
    def __init__(self) -> None:
        self.counts = SenderCounts()
        self.sent: list[bytes] = []

    def send(self, payload: bytes) -> None:
        self.sent.append(payload)

    def flush(self) -> None: ...

    def close(self) -> None: ...


def test_each_decision_is_sent_as_a_batch_of_one(feeds: Path) -> None:
    """So that what is acknowledged can be counted by decision; they are not repeated."""
    sender = _Sender()
    summary = run_feed(FeedOptions(str(feeds / "firewall.csv"), "firewall-csv"), sender)
    assert (summary.read, summary.sent, summary.exit_code) == (6, 4, 1)
    assert [len(DetectionBatch.FromString(payload).detections) for payload in sender.sent] == [1, 1, 1, 1]
    with pytest.raises(UsageError, match="cannot be repeated"):
        FeedOptions(str(feeds / "firewall.csv"), "firewall-csv", repeat=2)
