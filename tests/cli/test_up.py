"""`appia up` runs a whole stack of real processes, and every end of it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.cli.running import Running

    Appia = Callable[..., subprocess.CompletedProcess[str]]
    Start = Callable[..., Any]


def endpoints(running: Running) -> list[str]:
    ingester = running.ingester
    return [ingester.v2, ingester.v1_pull, ingester.control, *(r.endpoint for r in running.replicas)]


def pids(running: Running) -> list[int]:
    return [running.pid, running.ingester.pid, *(replica.pid for replica in running.replicas)]


def test_a_stack_starts_stops_and_starts_at_the_same_places(
    start_stack: Start, appia: Appia, alive: Callable[[int], bool], tmp_path: Path
) -> None:
    """Ctrl-C ends every process with status 0; the next start listens where the first one did."""
    stack = start_stack(tmp_path / "state", "--replicas", "2")
    first = stack.running
    assert [replica.name for replica in first.replicas] == ["rag-1", "rag-2"]
    assert (first.pid, first.state) == (stack.process.pid, str(tmp_path / "state"))
    assert all(alive(pid) for pid in pids(first))
    second = appia("up", "--state", str(tmp_path / "state"))
    assert second.returncode == 1
    assert f"has a running stack already (process {first.pid})" in second.stderr
    status, out, err = stack.stop()
    assert status == 0
    assert first.replicas[1].endpoint in out
    assert out.endswith("Stopped.\n")
    assert "made a new key" in err
    assert not (tmp_path / "state" / "endpoints.json").exists()
    assert not any(alive(pid) for pid in pids(first))
    again = start_stack(tmp_path / "state", "--replicas", "2", "--json")
    assert endpoints(again.running) == endpoints(first)
    status, out, err = again.stop(signal.SIGTERM)
    assert status == 0
    assert [
        line for line in err.splitlines() if "waiting for" not in line
    ] == []  # a slow machine says that it waits
    assert json.loads(out)["replicas"][0]["endpoint"] == first.replicas[0].endpoint


def test_killed_children_come_back_while_a_feed_goes_on(
    start_stack: Start, appia: Appia, sample: Path, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """With ingester and replica killed in the middle, every event is acknowledged and questions are answered."""
    stack = start_stack(tmp_path / "state", "--replicas", "2")
    before = stack.running
    feed = ["feed", "--state", str(stack.state), "--format", "cicflowmeter", "--json", "--rate", "2000"]
    with subprocess.Popen(
        [sys.executable, "-m", "services.cli.main", *feed, "--limit", "3000", str(sample)],
        stdout=subprocess.PIPE,
        text=True,
    ) as feeding:
        eventually("something arrived", lambda: count(appia, stack.state) > 0)
        os.kill(before.ingester.pid, signal.SIGKILL)
        os.kill(before.replicas[0].pid, signal.SIGKILL)
        assert count(appia, stack.state) > 0
        summary = json.loads(feeding.communicate()[0])
    assert (summary["sent"], summary["acknowledged"], summary["refused"]) == (3000, 3000, {})
    eventually("both are back", lambda: not set(pids(before)[1:3]) & set(pids(stack.running)))
    eventually("all is served", lambda: count(appia, stack.state) == 3000)
    assert endpoints(stack.running) == endpoints(before)
    status, _, err = stack.stop()
    assert status == 0
    assert err.count("was ended by SIGKILL and is started again") == 2


def count(appia: Appia, state: Path) -> int:
    done = appia("stats", "--state", str(state), "--json")
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["rows"])


def test_nothing_outlives_a_supervisor_that_is_killed(
    start_stack: Start,
    appia: Appia,
    alive: Callable[[int], bool],
    eventually: Callable[..., None],
    tmp_path: Path,
) -> None:
    """After kill -9 of `appia up` its children go, questions say that nothing runs, and it starts again."""
    stack = start_stack(tmp_path / "state")
    before = stack.running
    stack.stop(signal.SIGKILL)
    eventually("all are gone", lambda: not any(alive(pid) for pid in pids(before)))
    asked = appia("days", "--state", str(stack.state))
    assert (asked.returncode, asked.stdout) == (1, "")
    assert "start it with `appia up" in asked.stderr
    again = start_stack(tmp_path / "state")
    assert endpoints(again.running) == endpoints(before)
    assert again.stop()[0] == 0


def test_the_operators_settings_win(start_stack: Start, tmp_path: Path) -> None:
    """A settings file reaches both services, and ports and names that are given are taken."""
    (tmp_path / "mine.toml").write_text('[ingester]\nv1_pull = ""\n[rag]\nworkers = 1\n')
    stack = start_stack(
        tmp_path / "state", "--settings", str(tmp_path / "mine.toml"), "--listen", "127.0.0.2"
    )
    assert stack.running.ingester.v1_pull == ""
    assert "127.0.0.2" in stack.running.ingester.v2
    assert "workers = 1" in (tmp_path / "state" / "run" / "rag-1.toml").read_text()
    assert stack.stop()[0] == 0


@pytest.mark.usefixtures("_models")
def test_a_setting_that_a_service_refuses_ends_the_start(appia: Appia, tmp_path: Path) -> None:
    """The service's own sentence is the last line, and no file says that something runs."""
    (tmp_path / "mine.toml").write_text("[rag]\nworkers = 0\n")
    state = tmp_path / "state"
    done = appia("up", "--state", str(state), "--settings", str(tmp_path / "mine.toml"))
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("appia: rag-1 does not start: ")
    assert "the setting 'workers' is 0" in last
    assert not (state / "endpoints.json").exists()


def test_an_older_state_directory_keeps_its_models(start_stack: Start, tmp_path: Path) -> None:
    """A machine without a model store runs a state directory that has models of its own."""
    assert start_stack(tmp_path / "state").stop()[0] == 0
    assert start_stack(tmp_path / "state", "--models", str(tmp_path / "none")).stop()[0] == 0


def test_a_stack_registers_in_etcd_and_answers_without_it(
    start_stack: Start, appia: Appia, etcd: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """Replicas are found by the registry's URL alone; with etcd gone the state directory still finds them."""
    url, server = etcd
    stack = start_stack(tmp_path / "state", "--registry", url)
    by_url = appia("stats", "--registry", url, "--json")
    assert (by_url.returncode, by_url.stderr) == (0, "")
    assert json.loads(by_url.stdout)["replica"]["name"].endswith("-rag-1")
    server.kill()
    server.wait()
    assert appia("stats", "--state", str(stack.state)).returncode == 0
    lost = appia("stats", "--registry", url)
    assert (lost.returncode, len(lost.stderr.splitlines())) == (1, 1)
    assert stack.stop()[0] == 0
