"""`appia status --intake`: what an ingester says is told in words, and what gives cause for alarm stands out."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from services.cli import jobs
from services.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NODE = {"frames": 200, "gaps": 1, "missing": 3, "late": 0, "restarts": 2, "replays": 4, "nonces_reused": 0}
QUIET: dict[str, Any] = {
    "started": "2026-11-20T19:20:51+00:00",
    "protection": {"encrypts": False, "signs": "f1db07a8baa79eef"},
    "frames": {"v2": 1, "v1": 1200},
    "accepted": 7853,
    "decisions": {"accepted": 0, "duplicates": 0, "newest_ns": 0, "faults": []},
    "duplicates": 10,
    "refused": {},
    "dead_letter_not_kept": 0,
    "paused": False,
    "disk_percent": 40.0,
    "disk_filling": False,
    "reused_ids": 0,
    "index_faults": {},
    "refused_requests": {},
    "writer": {"epochs": [1], "faults": []},
    "keys": {},
    "v1_nodes": {},
}


@pytest.fixture
def told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., str]:
    """What the command prints where the ingester says this."""

    @contextlib.contextmanager
    def ingester_of(_state: Path) -> Iterator[None]:
        yield None

    def ask(*options: str, **counts: Any) -> str:
        monkeypatch.setattr(jobs, "ingester_of", ingester_of)
        monkeypatch.setattr(jobs, "call", lambda *_: {**QUIET, **counts})
        assert run(["status", "--intake", "--state", str(tmp_path), *options]) == 0
        return capsys.readouterr().out

    return ask


def test_a_quiet_day_is_three_lines(told: Callable[..., str]) -> None:
    assert told().splitlines() == [
        "7,853 events stored since 2026-11-20T19:20:51+00:00, 10 known before",
        "1 frame of wire version 2, 1,200 of version 1",
        "the disk is 40 % full; logs are not encrypted, sealed days signed with f1db07a8baa79eef",
    ]
    shown = told(protection={"encrypts": True, "signs": ""})
    assert "logs are encrypted, sealed days not signed" in shown
    decided = {"accepted": 12, "duplicates": 3, "newest_ns": 10**18, "faults": []}
    assert "12 decisions of firewalls kept, 3 known before" in told(decisions=decided)


def test_what_only_a_log_said_is_told(told: Callable[..., str]) -> None:
    """An index that fails, a registry that is away, requests without a right."""
    shown = told(
        index_faults={"semantic": "the model is gone"},
        writer={"epochs": [1, 0], "faults": ["No etcd answered."]},
        refused_requests={"operation": 1200, "handshake": 3},
    )
    assert "requests refused: handshake 3, operation 1,200" in shown
    assert "WARNING: the index semantic fails: the model is gone" in shown
    assert "WARNING: No etcd answered." in shown


def test_refusals_keys_and_sensors_are_counted(told: Callable[..., str]) -> None:
    """Reasons by name, keys with how long they are quiet, sensors with their losses."""
    shown = told(
        refused={"too_old": 3, "bad_tag": 1500},
        dead_letter_not_kept=1200,
        keys={"5": {"frames": 12, "quiet_s": 4000}},
        v1_nodes={"node-a": NODE},
    )
    assert "refused: bad_tag 1,500, too_old 3; 1,200 of them not kept in the dead letter" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert ["5", "12", "4,000", "s"] in rows
    assert ["node-a", "200", "3", "2", "4", "0"] in rows
    assert "ALARM" not in shown


def test_what_gives_cause_for_alarm_is_said(told: Callable[..., str]) -> None:
    """A full disk, nonces that come again, senders that were copied; the worst sensor is first."""
    nodes = {f"n{i:02}": NODE for i in range(30)} | {"bad\x1b[31m": {**NODE, "nonces_reused": 7}}
    shown = told(paused=True, v1_nodes=nodes, refused={"salt_changed": 2, "nonce_reused": 1})
    assert shown.count("ALARM") == 3
    assert "ALARM: 7 repeated nonces from 1 sensor of wire version 1" in shown
    assert "ALARM: 3 frames of senders that were copied" in shown
    sensors = shown[shown.index("v1 sensor") :].splitlines()
    assert sensors[1].startswith("bad\\x1b[31m")
    assert sensors[-1] == "... and 11 sensors more: --json has all"
    assert "\x1b" not in shown


def test_programs_get_all_of_it(told: Callable[..., str]) -> None:
    assert json.loads(told("--json", keys={"5": {"frames": 12, "quiet_s": 1}})) == {
        **QUIET,
        "keys": {"5": {"frames": 12, "quiet_s": 1}},
    }


def test_a_disk_that_fills_and_ids_that_come_twice_are_told(told: Callable[..., str]) -> None:
    """Before intake pauses there is a warning, which the alarm of the pause takes the place of."""
    shown = told(disk_filling=True, disk_percent=87.4, reused_ids=3)
    assert "WARNING: the disk is 87 % full" in shown
    assert "ALARM: 3 events under an id that another event of the same sensor has; both are kept" in shown
    paused = told(disk_filling=True, disk_percent=93.0, paused=True)
    assert "intake pauses until there is room" in paused
    assert "WARNING" not in paused
