"""The process that health starts tells what was taken out of the days, put into them, or cut off the chain."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days import prove_process

if TYPE_CHECKING:
    from services.common.days.names import DayNames, StateNames
    from services.common.days.sealing import Sealer


@pytest.fixture
def proven(day: DayNames, state: StateNames, signing_sealer: Sealer) -> Any:
    """What the process says of a state with one signed day. It is one of its own: it gives its priority away."""
    signing_sealer.seal(day, 1)

    def say(*words: str) -> dict[str, Any]:
        command = [sys.executable, "-m", prove_process.__name__, str(state.root), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    return say


def test_a_day_that_is_as_it_was_signed_has_no_fault(proven: Any) -> None:
    """The head is told, to be given the next time."""
    said = proven()
    assert (said["faults"], said["links"]) == ([], 2)
    assert proven("--head", said["head"])["faults"] == []


def test_a_day_that_was_taken_away_is_told(proven: Any, day: DayNames) -> None:
    """The chain itself holds, and says that there should be a day."""
    shutil.rmtree(day.folder)
    (fault,) = proven()["faults"]
    assert f"day {day.day} was removed" in fault


def test_a_day_that_was_set_back_or_put_in_is_told(proven: Any, day: DayNames, state: StateNames) -> None:
    """So is one that nobody signed."""
    shutil.copytree(day.folder, state.day("2026-02-02").folder)
    manifest = day.generation(1).chunk / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    faults = proven()["faults"]
    assert any("was altered" in fault for fault in faults)
    assert any("sealed and not signed" in fault for fault in faults)


def test_a_chain_that_was_cut_short_or_made_anew_is_told(proven: Any, state: StateNames) -> None:
    """Its last link of before is asked for."""
    head = proven()["head"]
    state.links.write_bytes(b"")
    assert any("cut short or replaced" in fault for fault in proven("--head", head)["faults"])
