"""Real traffic is read to the last row, with nothing refused; skipped where the data is not here."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.parse import parse_event
from services.feed.readers.port import Item, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def split(items: list[Item]) -> tuple[list[NetworkSecurityEvent], Counter[str]]:
    events = [item for item in items if isinstance(item, NetworkSecurityEvent)]
    skipped = Counter(item.kind for item in items if isinstance(item, Skipped))
    assert len(events) + skipped.total() == len(items)
    assert len({event.event_id for event in events}) == len(events)
    for event in events[::50]:
        parse_event(event.SerializeToString())
    return events, skipped


def test_the_week_of_cicids2017(shared_data: Path, read_all: Callable[..., Any]) -> None:
    events, skipped = split(read_all("cicflowmeter", shared_data / "cicids2017"))
    assert (len(events), skipped) == (39_422, Counter())
    classes = Counter(event.final_classification for event in events)
    assert classes == {"BENIGN": 5_270, "MALICIOUS": 34_152}
    assert len({event.threat_category for event in events}) == 16


@pytest.mark.parametrize(("name", "rows", "malicious"), [("008", 5_663, 4_201), ("011", 9_048, 3_951)])
def test_labelled_connections_of_zeek(
    shared_data: Path, read_all: Callable[..., Any], name: str, rows: int, malicious: int
) -> None:
    path = shared_data / "zeek-ctu" / f"{name}-conn.log.labeled.gz"
    events, skipped = split(read_all("zeek-conn", path))
    assert (len(events), skipped) == (rows, Counter())
    assert sum(event.final_classification == "MALICIOUS" for event in events) == malicious


def test_flows_and_alerts_of_suricata(shared_data: Path, read_all: Callable[..., Any]) -> None:
    events, skipped = split(read_all("suricata-eve", shared_data / "suricata"))
    alone = [event for event in events if "-alert-" in event.event_id]
    joined = [int(event.custom_metadata.get("alert.count", "0")) for event in events]
    assert len(events) - len(alone) == 3_512
    assert (len(alone), sum(joined)) == (322, 423)
    assert skipped == {"dns": 680, "http": 56, "fileinfo": 3, "anomaly": 3, "tls": 1}


def test_a_stream_of_many_zeek_logs(shared_data: Path, read_all: Callable[..., Any]) -> None:
    events, skipped = split(read_all("zeek-conn", shared_data / "zeek-apt29"))
    assert len(events) == 613
    assert (skipped["files"], skipped["dns"], skipped.total()) == (448, 53, 1_527)
    assert {event.final_classification for event in events} == {""}


def test_real_files_in_the_wrong_format_are_refused_once(
    shared_data: Path, read_all: Callable[..., Any]
) -> None:
    zeek = shared_data / "zeek-ctu" / "008-conn.log.labeled.gz"
    for name in ("cicflowmeter", "suricata-eve", "mldefender-jsonl"):
        (refusal,) = read_all(name, zeek)
        assert refusal.reason == "wrong_format"
