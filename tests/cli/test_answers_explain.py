"""Explanations as text: every part is there once, what is long is cut and counted, and no event steers the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.answers_explain import MOST_DELTAS, MOST_FOLLOWING, MOST_NEIGHBOURS, show_explanation

if TYPE_CHECKING:
    import pytest

EVENT = {
    "event_id": "e-1",
    "time": "2026-01-22T10:00:00.123456Z",
    "src_ip": "10.0.0.1",
    "src_port": 1,
    "dst_ip": "10.0.0.2",
    "dst_port": 2,
    "protocol": 6,
    "class": "MALICIOUS",
    "category": "scan",
    "narrative": "a scan",
}
RECEIPT = {"rows": 9, "days": ["2026-01-22"], "missing": [], "took_ms": 2.34}
NOTHING: dict[str, Any] = {
    "outcome": "none",
    "says": "No change was found.",
    "changes": [],
    "follows": [],
    "neighbours": [],
}
OTHER = {
    "event": EVENT | {"event_id": "e-2"},
    "deltas": [{"says": f"difference {number}", "sigmas": 1.0} for number in range(MOST_DELTAS + 3)],
    "changed": [{"says": "destination port 443 against 80"}],
    "alike": 60,
    "unmatched": ["smb_scan.rst_ratio"],
    "likeness": {
        "attack": {"score": 0.98, "rank": 1},
        "semantic": {"score": 0.5, "rank": 8},
        "temporal": {"score": 0.25, "rank": None},
    },
}


def _shown(capsys: pytest.CaptureFixture[str], **parts: Any) -> list[str]:
    answer = {
        "event": EVENT,
        "day": {"day": "2026-01-22", "rows": 9, "sampled": 9},
        "others": [OTHER],
        "what_if": NOTHING,
        "receipt": RECEIPT,
    }
    show_explanation(answer | parts)
    return capsys.readouterr().out.splitlines()


def test_a_comparison_names_differences_and_likeness(capsys: pytest.CaptureFixture[str]) -> None:
    """The other event, how near each index sees it, the first differences and how many more there are."""
    lines = _shown(capsys)
    assert lines[0] == "event e-1: 2026-01-22 10:00:00 10.0.0.1:1 to 10.0.0.2:2 tcp, MALICIOUS scan"
    assert lines[2] == "compared with 1 other; sigmas are those of 2026-01-22, from 9 of its 9 events"
    assert lines[4].startswith("1: e-2: ")
    assert lines[6] == (
        "   near by attack 0.980 (the nearest), semantic 0.500 (7 nearer), temporal 0.250 (not among the nearest)"
    )
    assert lines[7] == "   - destination port 443 against 80"
    assert lines[7 + MOST_DELTAS] == "   - and 4 more differences"
    assert lines[8 + MOST_DELTAS] == "   60 features alike; 1 feature only one of the two has"
    assert lines[-2:] == ["to be benign: No change was found.", ""]


def test_what_hardly_differs_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs of one flow differ by microseconds, which nobody has to read; a class that repeats is said once."""
    event = EVENT | {"class": "BENIGN", "category": "BENIGN"}
    alike = OTHER | {"changed": [], "deltas": [{"says": "tiny", "sigmas": -0.05}], "event": event}
    lines = _shown(capsys, others=[alike])
    assert lines[7] == "   no feature differs by 0.1 sigmas"
    assert lines[4].endswith("tcp, BENIGN")
    assert _shown(capsys, others=[alike | {"deltas": []}])[7] == "   no feature differs"


def test_a_change_is_shown_with_its_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    """What is changed, what follows from it, and who would be near, each cut where it is long."""
    change = {
        "outcome": "found",
        "says": "6 of its 10 nearest events would be benign.",
        "changes": [
            {"says": "duration 2 s instead of 1 s", "features": [1, 2, 3]},
            {"says": "destination port 443 instead of 80", "features": [1]},
        ],
        "follows": [{"says": f"number {number}"} for number in range(MOST_FOLLOWING + 1)],
        "neighbours": [EVENT | {"benign": number > 0} for number in range(MOST_NEIGHBOURS + 2)],
    }
    lines = _shown(capsys, others=[], what_if=change)
    assert "No other event was found to compare it with." in lines
    start = lines.index("to be benign: 6 of its 10 nearest events would be benign.")
    assert lines[start + 1 : start + 5] == [
        "   duration 2 s instead of 1 s (and 2 numbers with it)",
        "   destination port 443 instead of 80",
        "   what follows from that:",
        "   - number 0",
    ]
    assert "   - and 1 more number" in lines
    assert sum(line.endswith("(benign)") for line in lines) == MOST_NEIGHBOURS - 1
    assert sum(line.endswith("(not benign)") for line in lines) == 1
    assert "   - and 2 more events" in lines


def test_no_event_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """An escape in an id, a class or a narrative is spelled out."""
    hostile = {**EVENT, "event_id": "\x1b[2J", "category": "\x07", "narrative": "a\x1b]0;b\x07"}
    shown = "\n".join(_shown(capsys, event=hostile, others=[OTHER | {"event": hostile}]))
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert r"\x1b[2J" in shown
