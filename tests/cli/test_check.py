"""`appia check` finds what is wrong with a real day, and `appia repair` says what it would do about it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from services.cli.main import run
from services.common.days.names import StateNames
from services.common.days.open_writer import SegmentLog
from services.common.durable import Disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def state(sealed_sample: Path, tmp_path: Path) -> StateNames:
    """A copy of the sealed sample, to be damaged."""
    return StateNames(shutil.copytree(sealed_sample, tmp_path / "state"))


@pytest.fixture
def day(state: StateNames) -> str:
    return state.days()[0]


@pytest.fixture
def go(state: StateNames, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command on it with `--json`, in this process."""

    def run_it(*words: str) -> tuple[int, dict[str, Any]]:
        status = run([*words, "--json", "--state", str(state.root)])
        return status, json.loads(capsys.readouterr().out)

    return run_it


def flip(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_whole_state_directory_is_consistent(
    go: Run, state: StateNames, day: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every event counts, in every index; all days are looked at unless one is named."""
    status, found = go("check", "--full")
    assert (status, found["percent"], found["total"], found["consistent"]) == (0, 100.0, 7853, 7853)
    assert {one["percent"] for one in found["indices"].values()} == {100.0}
    assert [one["day"] for one in found["days"]] == [day]
    assert go("check", day) == (0, {**found, "days": [{**found["days"][0], "full": False}]})
    assert run(["check", "--all", "--state", str(state.root)]) == 0
    assert "7,853 of 7,853 events consistent, 100 %" in capsys.readouterr().out


def test_a_bit_is_found_and_its_repair_said(
    go: Run, state: StateNames, day: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The quick check sees nothing of it, the full one names the index and what helps; a dry run changes nothing."""
    generation = state.day(day).generation(1)
    flip(generation.index_version("attack", 1) / "rows.bin")
    assert go("check")[0] == 0
    status, found = go("check", "--full")
    assert (status, found["percent"]) == (1, 0.0)
    assert found["indices"]["attack"] == {"percent": 0.0, "wrong": {"corrupt": [day]}}
    assert found["indices"]["semantic"]["percent"] == 100.0
    status, planned = go("repair", day, "--dry-run")
    assert (status, [(one["part"], one["state"]) for one in planned["plan"]]) == (0, [("attack", "corrupt")])
    assert planned["repaired"] == []
    assert go("repair", "--all", "--quick", "--dry-run")[1]["plan"] == []
    assert go("repair", day, "--index", "semantic", "--dry-run")[1]["plan"] == []
    run(["check", day, "--full", "--state", str(state.root)])
    assert f"`appia repair {day}` makes it anew" in capsys.readouterr().out
    assert run(["repair", day, "--state", str(state.root)]) == 1
    assert "nothing runs on" in capsys.readouterr().err


def test_lost_events_name_the_backup(go: Run, state: StateNames, day: str) -> None:
    """They are never repaired, whatever else is wrong with the day."""
    generation = state.day(day).generation(1)
    flip(generation.chunk / "events.log")
    (generation.chunk / "columns.bin").unlink()
    generation.index_current("entity").unlink()
    status, planned = go("repair", day)
    assert (status, planned["plan"], planned["repaired"]) == (1, [], [])
    (lost,) = planned["lost"]
    assert "restore the day from a backup" in lost


def test_damaged_events_of_an_open_day_are_lost_too(go: Run, state: StateNames) -> None:
    """Nothing is repaired about them, and the exit status says that something stays as it is."""
    segment = state.day("2026-01-01").segment(1)
    log = SegmentLog(Disk(), segment, 0)
    log.append([b"x" * 500, b"y" * 500])
    log.close()
    flip(segment.log(1))
    status, planned = go("repair", "2026-01-01")
    assert (status, planned["plan"]) == (1, [])
    assert planned["lost"][0].startswith("open events of 2026-01-01: ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["repair"], "which day? Give one DAY, or --all"),
        (["repair", "2026-01-01", "--all"], "which day? Give one DAY, or --all"),
        (["repair", "2026-01-01"], "has no day 2026-01-01"),
        (["repair", "--all", "--index", "fused"], "no part 'fused' of a day; there are: chunk, attack"),
        (["check", "2026-01-01", "--all"], "give one DAY, or --all"),
        (["check", "yesterday"], "is not a day"),
    ],
)
def test_wrong_input_is_said(
    state: StateNames, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert run([*words, "--state", str(state.root)]) in {1, 2}
    assert sentence in capsys.readouterr().err
