"""What firewalls decided, in text: a column where they reported at all, and a line for each decision that stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.cli.answers import show_events
from services.cli.answers_firewalls import decision_lines, span
from services.cli.verify_said import Said
from services.common.days.layout import claim_layout
from services.common.days.log import LogWriter
from services.common.days.log_format import DECISIONS
from services.common.days.names import StateNames
from services.common.decisions.record import Taken
from services.common.durable import Disk
from services.common.events.network_security_pb2 import Detection
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from pathlib import Path

DECISION = {
    "time": "2026-01-22T12:00:01.500000Z",
    "after_s": 1.5,
    "until": "2026-01-22T13:00:01.500000Z",
    "lasts_s": 3600.0,
    "end_is_assumed": False,
    "action": "BLOCK",
    "kind": "ddos",
    "confidence": 0.97,
    "reason": "7",
    "reported_by": "v2 sender 0x1",
    "address": "192.0.2.1",
    "side": "source",
}
EVENT: dict[str, Any] = {
    "event_id": "e-1",
    "time": "2026-01-22T12:00:00.000000Z",
    "src_ip": "192.0.2.1",
    "src_port": 40000,
    "dst_ip": "10.0.0.5",
    "dst_port": 443,
    "protocol": 6,
    "class": "MALICIOUS",
    "category": "DDoS",
    "overall": 0.9,
}


@pytest.mark.parametrize(
    ("state", "changes", "words"),
    [
        (
            "yes",
            {},
            "e-1: blocked 1.5 s after, until 2026-01-22 13:00:01 (60 min), source 192.0.2.1: BLOCK, ddos, 0.97 sure, 7",
        ),
        (
            "yes",
            {"after_s": -90.0, "kind": "", "confidence": None, "reason": "", "end_is_assumed": True},
            "e-1: blocked since 90 s before, until 2026-01-22 13:00:01 (60 min, assumed), source 192.0.2.1: BLOCK",
        ),
        (
            "unknown",
            {"after_s": 0.0, "action": "", "kind": "", "confidence": None, "reason": ""},
            "e-1: decided on, without an action, at that moment, until 2026-01-22 13:00:01 (60 min), source 192.0.2.1",
        ),
    ],
)
def test_a_decision_is_one_line(state: str, changes: dict[str, Any], words: str) -> None:
    """When, until when and for how long, on which side, by which action, kind, confidence and rule; each event once."""
    event = {**EVENT, "blocked": state, "decision": {**DECISION, **changes}}
    assert decision_lines({"hits": [event, event], "other": EVENT}) == [words]


def test_events_of_one_decision_are_one_line() -> None:
    """However far each is from it; another decision has a line of its own."""
    events = [
        {
            **EVENT,
            "event_id": f"e-{number}",
            "blocked": "yes",
            "decision": {**DECISION, "after_s": -float(number)},
        }
        for number in range(3)
    ]
    other = {**EVENT, "blocked": "yes", "decision": {**DECISION, "reason": "another"}}
    first, second = decision_lines({"events": [*events, other]})
    assert first.startswith(
        "e-0 and 2 more: blocked at 2026-01-22 12:00:01, until 2026-01-22 13:00:01 (60 min)"
    )
    assert second.endswith("another")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0.0004 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_a_length_of_time_is_told_in_one_unit(seconds: float, text: str) -> None:
    """The largest of which there are at least two."""
    assert span(seconds) == text


def test_the_column_is_there_where_firewalls_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """Without any decision the table is what it was."""
    show_events({"events": [EVENT], "next": None})
    assert "blocked" not in capsys.readouterr().out
    show_events({"events": [{**EVENT, "blocked": "no"}], "next": None})
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[-2:] == ["blocked", "event"]
    assert row.split()[-2:] == ["no", "e-1"]


def test_verify_reads_decisions(tmp_path: Path) -> None:
    """They are counted; damage among them is named."""
    names, disk = StateNames(tmp_path / "state"), Disk()
    claim_layout(names, disk)
    assert not list(Said.of(names, NO_KEYS).lines())
    disk.make_folder(names.decisions.folder)
    log = LogWriter(disk, names.decisions.path(1))
    for number in range(3):
        one = Detection(src_ip="192.0.2.1", timestamp=10**18 + number, action="BLOCK")
        log.append(DECISIONS, number, [Taken(10**18, "test", 60, [one]).to_bytes()])
    log.close()
    assert list(Said.of(names, NO_KEYS).lines()) == ["decisions of firewalls: whole; 3 decisions"]
    raw = bytearray(names.decisions.path(1).read_bytes())
    raw[len(raw) // 2] ^= 1
    names.decisions.path(1).write_bytes(raw)
    found = Said.of(names, NO_KEYS)
    assert next(iter(found.lines())) == "decisions of firewalls: 1 fault; 2 decisions"
    assert len(found.faults) == 1
