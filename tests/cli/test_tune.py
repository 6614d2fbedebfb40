"""`appia tune`: shown before it is applied, applied whole or not at all, and in the history."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from services.cli import tune, tune_apply
from services.cli.config_place import author, open_config, place_of
from services.cli.main import run
from services.cli.proposals import Proposal
from services.cli.running import IngesterAt, ReplicaAt, Running
from services.cli.tune_apply import Tuning
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.registry.files import FileRegistry
from services.common.registry.port import Entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.config.store import ConfigStore, Place

    Tune = Callable[..., dict[str, Any]]

ATTACK = "sensors.threshold_level1_attack"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with a sealing key, on which nothing runs."""
    root = tmp_path / "state"
    claim_layout(StateNames(root), Disk())
    assert run(["keys", "registry", str(root / "keys")]) == 0
    return root


@pytest.fixture
def place(state: Path) -> Place:
    """Where its configuration is."""
    return place_of(state, None, None)


@pytest.fixture
def store(place: Place) -> ConfigStore:
    """The configuration as another command sees it."""
    return open_config(place)


@pytest.fixture
def told(state: Path, capsys: pytest.CaptureFixture[str]) -> Tune:
    """What a command that applies prints as JSON."""

    def ask(*words: str) -> dict[str, Any]:
        capsys.readouterr()
        assert run(["tune", *words, "--state", str(state), "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return ask


def values(told: dict[str, Any]) -> dict[str, Any]:
    """What is proposed, or was changed, by key."""
    return {
        one["key"]: one.get("proposed", one.get("after")) for one in told.get("proposals") or told["changed"]
    }


def test_a_step_is_applied_and_kept_in_the_history(told: Tune, store: ConfigStore) -> None:
    """With who, why, before and after; a second one begins where the first ended."""
    first = told("accelerate", "--yes", "--who", "ana", "--note", "too many alarms")
    assert values(first)[ATTACK] == 0.7
    second = told("accelerate", "--step", "0.1", "--yes")
    assert values(second)[ATTACK] == 0.8
    back = told("decelerate", "--step", "0.15", "--service", "sensors", "--yes")
    assert values(back)[ATTACK] == 0.65
    document = store.read().content
    assert document.flat()[ATTACK] == 0.65
    assert [change.revision for change in document.changes] == [first["revision"], 2, 3]
    kept = document.changes[0]
    assert (kept.who, kept.why) == ("ana", "too many alarms")
    assert (kept.before[ATTACK], kept.after[ATTACK]) == (None, 0.7)
    assert document.changes[1].why == "tune accelerate --step 0.1"


def test_a_dry_run_changes_nothing(told: Tune, store: ConfigStore) -> None:
    """Nor does a step at the bounds, which is no change for the history."""
    assert values(told("accelerate", "--dry-run"))[ATTACK] == 0.7
    assert store.read().revision == 0
    for _ in range(4):
        told("accelerate", "--step", "0.2", "--service", "sensors", "--yes")
    revision = store.read().revision
    last = told("accelerate", "--step", "0.2", "--service", "sensors", "--yes")
    assert last["changed"] == []
    assert store.read().revision == revision


@pytest.mark.parametrize(("answer", "revision"), [("y\n", 1), ("n\n", 0), ("\n", 0)])
def test_a_person_is_asked_first(
    state: Path, store: ConfigStore, monkeypatch: pytest.MonkeyPatch, answer: str, revision: int
) -> None:
    """Return alone means no."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert run(["tune", "accelerate", "--state", str(state)]) == 0
    assert store.read().revision == revision


def test_the_table_says_what_changes_and_how_it_is_taken_back(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each key with the value that it has, the one that it would have, and why."""
    capsys.readouterr()
    assert run(["tune", "accelerate", "--yes", "--state", str(state)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["key", "now", "proposed", "why"]
    assert lines[1].split() == [ATTACK, "0.65", "0.7", "fewer", "detections"]
    assert "This is revision 1." in lines


def test_only_what_was_shown_is_applied(place: Place, store: ConfigStore) -> None:
    """Somebody else changed a value while this one was looked at: nothing is changed, and it is said."""
    shown = [Proposal("rag", "waiting", 256, 512, ""), Proposal("rag", "workers", 2, 3, "")]
    edit = Tuning(place).edit(shown)
    store.change(lambda _: {"rag.workers": 4}, author("bob", ""))
    with pytest.raises(AppiaError, match=r"rag\.workers became 4 meanwhile, nothing was changed"):
        store.change(edit, author("ana", ""))
    assert store.read().content.flat() == {"rag.workers": 4}


def test_what_the_environment_of_a_service_says_is_left_alone(
    state: Path, monkeypatch: pytest.MonkeyPatch, told: Tune
) -> None:
    """It would win anyway, so a change in the history would be a lie."""
    stack(state, monkeypatch)
    registry = FileRegistry(state / "registry")
    entry = Entry("rag", "rag-1", "tcp://127.0.0.1:1", {"config_pinned": "workers,waiting"})
    held = registry.register(entry, 60)
    proposals = {one["key"]: one for one in told("optimize", "--cpu", "100", "--dry-run")["proposals"]}
    held.withdraw()
    registry.close()
    pinned = proposals["rag.workers"]
    assert (pinned["changes"], pinned["why"]) == (
        False,
        "the environment of the service says it: not changed",
    )
    assert "environment" not in proposals["rag.slow_workers"]["why"]


def test_a_machine_is_looked_at_and_its_plan_applied(
    state: Path, monkeypatch: pytest.MonkeyPatch, told: Tune, store: ConfigStore
) -> None:
    """Little memory asked for: the least buffers. Once it is applied, nothing is left to do."""
    stack(state, monkeypatch)
    seen = told("optimize", "--ram", "64", "--dry-run")
    assert len(seen["found"]) == 4
    assert values(seen)["ingester.queue_bytes"] == 1 << 20
    assert values(told("optimize", "--ram", "64", "--yes"))["ingester.batch_rows"] == 256
    assert store.read().content.flat()["ingester.batch_rows"] == 256
    assert told("optimize", "--ram", "64", "--yes")["changed"] == []


def test_what_starts_late_is_named(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who applies it must know that nothing happens yet."""
    monkeypatch.setattr(tune_apply, "plan", lambda *_: (Proposal("rag", "workers", 2, 3, "why"),))
    stack(state, monkeypatch)
    assert run(["tune", "optimize", "--dry-run", "--state", str(state)]) == 0
    assert "why (in use at the next start)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["accelerate", "--state", "STATE"], 2, "give --yes to apply it, or --dry-run to look"),
        (["accelerate", "--state", "STATE", "--yes", "--step", "0.5"], 2, "choose 0.005 to 0.2"),
        (["accelerate", "--state", "STATE", "--yes", "--step", "nan"], 2, "choose 0.005 to 0.2"),
        (["decelerate", "--state", "STATE", "--yes", "--service", "moon"], 2, "'moon' has no thresholds"),
        (["accelerate", "--yes"], 2, "which state directory"),
        (["accelerate", "--yes", "--state", "STATE", "--who", "a" * 65], 2, "1 to 64 characters"),
        (["accelerate", "--yes", "--state", "STATE", "--note", "a" * 401], 2, "at most 400 characters"),
        (["optimize", "--yes", "--state", "STATE"], 1, "nothing runs on"),
        (["optimize", "--yes", "--state", "STATE", "--cpu", "0"], 2, "--cpu"),
        (["optimize", "--yes", "--state", "STATE", "--ram", "1"], 2, "--ram"),
        (["accelerate", "--yes", "--state", "/nonexistent"], 1, "is not a state directory"),
    ],
)
def test_wrong_use_is_one_sentence(
    words: list[str], status: int, sentence: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And changes nothing."""
    capsys.readouterr()
    assert run(["tune", *(str(state) if word == "STATE" else word for word in words)]) == status
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not (state / "values" / "config.value").exists()


def test_without_a_sealing_key_it_is_said_how_to_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The configuration is sealed."""
    claim_layout(StateNames(tmp_path), Disk())
    assert run(["tune", "accelerate", "--dry-run", "--state", str(tmp_path)]) == 2
    assert "make it with `appia keys registry`" in capsys.readouterr().err


def test_the_step_that_is_written_is_the_one_of_the_planner() -> None:
    """It stands in the command too, which must start quickly and not import the planner for it."""
    from services.cli.tune_steps import DEFAULT_STEP  # noqa: PLC0415 - the point of the test

    assert tune.DEFAULT_STEP == DEFAULT_STEP


def stack(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it look as if a stack ran there."""
    pid = 2**22 + 1  # no process has it
    running = Running(
        str(state),
        "file",
        pid,
        IngesterAt(pid, "", "", ""),
        [ReplicaAt("rag-1", "", pid)],
        str(state / "keys"),
    )
    monkeypatch.setattr(tune_apply, "read_running", lambda _: running)
