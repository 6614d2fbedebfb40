"""A configuration is pushed to a running stack: it is in use at once, and where a service does not serve with it, gone.

The replicas are made not ready by a day whose pointer names a generation that is not there: within 30 s nobody minds,
within one second it is a reason.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from services.common.registry.files import FileRegistry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Stack = Any

APPIA = [sys.executable, "-m", "services.cli.main"]
SETTINGS = "[ingester]\nconfig_within_s = 1.5\n[rag]\nconfig_within_s = 1.5\n"


class Config:
    """`appia config` on a state directory."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def run(self, *words: str) -> tuple[int, str, str]:
        command = [*APPIA, "config", *words, "--state", str(self.state)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json")[1])

    def set(self, *words: str) -> tuple[int, dict[str, str]]:
        """Exit status, and what each service said."""
        status, out, _ = self.run("set", *words, "--json")
        return status, {said["service"]: said["answer"] for said in json.loads(out)["services"]}

    def facts(self, kind: str, name: str) -> dict[str, Any]:
        found = {entry.name: entry.info for entry in FileRegistry(self.state / "registry").entries(kind)}
        return dict(found.get(name, {}))


@pytest.fixture
def stack(start_stack: Callable[..., Stack], tmp_path: Path) -> Stack:
    (tmp_path / "settings.toml").write_text(SETTINGS)
    return start_stack("--replicas", "2", "--settings", str(tmp_path / "settings.toml"))


def test_a_configuration_is_taken_and_a_bad_one_is_not(stack: Stack, eventually: Callable[..., None]) -> None:
    """Every service says what it did; a bad value is taken back by who suffers from it, and is not tried again."""
    config = Config(stack.names.root)
    everybody = {"ingester/ingester", "rag/rag-1", "rag/rag-2"}
    status, said = config.set("rag.weight_words=2", "ingester.batch_rows=128", "--note", "first")
    assert (status, said) == (0, dict.fromkeys(everybody, "taken"))

    status, said = config.set("ingester.disk_stop_percent=0.001")
    assert (status, said) == (1, {"ingester/ingester": "refused"})
    facts = config.facts("ingester", "ingester")
    assert facts["config_revision"] == 1
    assert "No events are taken" in facts["config_fault"]

    # A replica that serves less than there is: with the bound of 30 s it is ready, with one of a second it is not.
    lost = stack.names.day("2026-01-22").current.parent
    lost.mkdir(parents=True)
    (lost / "CURRENT").write_text("000009\n")
    status, said = config.set("rag.ready_within_s=1", "ingester.disk_stop_percent=99.5")
    assert (status, said) == (
        1,
        {"ingester/ingester": "taken", "rag/rag-1": "refused", "rag/rag-2": "refused"},
    )
    assert "generation 9 of 2026-01-22" in config.facts("rag", "rag-1")["config_fault"]

    # Killed, a service comes back with the last good one, and refuses the bad one again.
    config.set("ingester.disk_stop_percent=0.001")
    pid = stack.now.ingester.pid
    os.kill(pid, signal.SIGKILL)
    eventually(
        "the ingester is back and refuses still",
        lambda: (
            (found := config.facts("ingester", "ingester")).get("pid") not in {None, pid}
            and "is refused" in found["config_fault"]
        ),
    )
    assert config.facts("ingester", "ingester")["config_revision"] == 3

    status, out, _ = config.run("rollback", "1", "--json")
    assert (status, {one["answer"] for one in json.loads(out)["services"]}) == (0, {"taken"})
    changes = config.json("history")["changes"]
    assert [(change["revision"], change["why"]) for change in changes] == [
        (5, "back to revision 1"),
        (4, ""),
        (3, ""),
        (2, ""),
        (1, "first"),
    ]
    assert config.json("diff")["keys"][0]["key"] == "ingester.batch_rows"


def test_what_was_set_while_nothing_ran_is_read_at_the_start(
    start_stack: Callable[..., Stack], eventually: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Services that were off start with it, but for what their environment says, which `get` tells."""
    stack = start_stack()
    config = Config(stack.names.root)
    assert stack.end() == 0
    status, out, _ = config.run("set", "rag.workers=3", "ingester.batch_rows=128")
    assert status == 0
    assert "it is read at the next start" in out
    monkeypatch.setenv("APPIA_INGESTER_BATCH_ROWS", "256")
    stack.start()
    keys = {row["key"]: row for row in config.json("get")["keys"]}
    assert keys["ingester.batch_rows"]["pinned"] == ["ingester/ingester"]
    assert (keys["rag.workers"]["value"], keys["rag.workers"]["from"]) == (3, "live")
    eventually("the replica has it", lambda: config.facts("rag", "rag-1")["config_revision"] == 1)
