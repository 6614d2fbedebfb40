"""What is known about a running stack is true even after kill -9."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from services.cli.running import (
    INSTALLED,
    IngesterAt,
    ReplicaAt,
    Running,
    StackLock,
    is_running,
    is_served,
    read_running,
)
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path

RUNNING = Running(
    state="/var/lib/appia",
    registry="file",
    pid=17,
    ingester=IngesterAt(18, "tcp://127.0.0.1:1", "", "tcp://127.0.0.1:2"),
    replicas=[ReplicaAt("rag-1", "tcp://127.0.0.1:3", 19)],
    keys="/var/lib/appia/keys",
    observe={"ingester": "127.0.0.1:4", "rag-1": "127.0.0.1:5"},
    health="tcp://127.0.0.1:6",
)


@pytest.fixture
def names(tmp_path: Path) -> StateNames:
    names = StateNames(tmp_path / "state")
    claim_layout(names, Disk())
    names.run.mkdir()
    return names


def test_what_is_written_is_what_is_read(names: StateNames) -> None:
    """Every field survives the file, whose layout other programs rely on."""
    names.endpoints.write_text(RUNNING.to_json())
    lock = StackLock(names)
    assert read_running(names.root) == RUNNING
    lock.release()
    assert sorted(json.loads(RUNNING.to_json())) == [
        "health",
        "ingester",
        "keys",
        "observe",
        "pid",
        "registry",
        "replicas",
        "state",
    ]


def test_a_file_left_behind_is_no_running_stack(names: StateNames) -> None:
    """Without the lock of a living supervisor the file means nothing, and the sentence says how to start."""
    names.endpoints.write_text(RUNNING.to_json())
    assert not is_running(names)
    with pytest.raises(AppiaError, match=f"nothing runs on {names.root}: start it with `appia up --state"):
        read_running(names.root)
    lock = StackLock(names)
    assert is_running(names)
    lock.release()
    assert not is_running(names)


def test_services_that_the_system_keeps_need_no_supervisor(names: StateNames) -> None:
    """Who installs them says so in the file; `appia up` may still take the state directory over."""
    installed = replace(RUNNING, pid=INSTALLED)
    names.endpoints.write_text(installed.to_json())
    assert not is_running(names)
    assert is_served(names)
    assert read_running(names.root) == installed
    StackLock(names).release()


def test_only_one_stack_runs_on_a_state_directory(names: StateNames) -> None:
    """The second is told which process holds it; after a release another one may."""
    lock = StackLock(names)
    with pytest.raises(AppiaError, match=r"has a running stack already \(process \d+\)"):
        StackLock(names)
    lock.release()
    StackLock(names).release()


def test_a_stack_that_is_starting_is_waited_for(names: StateNames) -> None:
    """Between the lock and the file there is a sentence of its own."""
    lock = StackLock(names)
    with pytest.raises(AppiaError, match="is still starting"):
        read_running(names.root)
    lock.release()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": 1}', RUNNING.to_json().replace("v2", "v3")])
def test_a_damaged_file_is_said(names: StateNames, content: str) -> None:
    """A file that is not what `appia up` writes is named and never half believed."""
    names.endpoints.write_text(content)
    lock = StackLock(names)
    with pytest.raises(AppiaError, match=r"endpoints.json is damaged"):
        read_running(names.root)
    lock.release()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """A directory that `appia up` never made is named as such."""
    with pytest.raises(AppiaError, match="is not a state directory"):
        read_running(tmp_path)
