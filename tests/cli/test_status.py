"""`appia status` of a real stack: what health tells, and what is asked where it is silent."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from services.cli.fleet_source import FleetSource, _Asking, alerts_of
from services.cli.look import Look
from services.cli.main import run
from services.cli.status_watch import watch
from services.health.probes.asking import Answer
from services.health.probes.processes import resident_bytes

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Appia, Stack


def test_the_fleet_is_shown(shared_stack: Stack, ask: Callable[..., dict[str, Any]]) -> None:
    """Each service with what it says of itself, the disk, and what came in."""
    fleet = ask("status")
    told = {f"{one['kind']}/{one['name']}": one for one in fleet["services"]}
    assert {"ingester/ingester", "rag/rag-1", "rag/rag-2"} <= set(told)
    for subject in ("ingester/ingester", "rag/rag-1"):
        assert told[subject]["answers"] is True
        assert told[subject]["ready"] is True
        assert told[subject]["rss_bytes"] > 10 << 20
        assert abs(told[subject]["clock_offset_s"]) < 1
    assert fleet["intake"]["accepted"] >= 300
    assert 0 < fleet["disks"][0]["used_percent"] <= 100
    assert fleet["state"] == str(shared_stack.state)


def test_the_counters_of_the_ingester_are_shown_on_request(ask: Callable[..., dict[str, Any]]) -> None:
    """As a program reads them."""
    assert ask("status", "--intake")["accepted"] >= 300


def test_a_frozen_replica_is_down_and_the_screen_comes_all_the_same(
    start_stack: Callable[..., Stack], appia: Appia, tmp_path: Path
) -> None:
    """Whoever hangs delays the others for two seconds, and is named first."""
    stack = start_stack(tmp_path / "state", "--no-health")
    (replica,) = stack.running.replicas
    os.kill(replica.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        shown = appia("status", "--state", str(stack.state))
        assert time.monotonic() - began < 15
    finally:
        os.kill(replica.pid, signal.SIGCONT)
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert any(line.startswith("health    not running") for line in lines)
    rows = lines[next(n for n, line in enumerate(lines) if line.startswith("service ")) + 1 :]
    assert rows[0].split()[:2] == ["rag/rag-1", "DOWN"]
    assert "did not answer" in rows[0]
    assert rows[1].split()[:2] == ["ingester/ingester", "ready"]


def test_watching_shows_it_again_and_again_in_a_pipe(
    shared_stack: Stack, background: Callable[..., subprocess.Popen[str]]
) -> None:
    """Screens one after the other until Ctrl-C, which is its regular end."""
    command = [sys.executable, "-m", "services.cli.main", "status", "--watch", "--state"]
    process = background(*command, str(shared_stack.state))
    assert process.stdout is not None
    heads = 0
    while heads < 2:
        line = process.stdout.readline()
        assert line
        heads += line.startswith("appia on ")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert process.stderr is not None
    assert not process.stderr.read()


def test_watching_is_a_line_of_json_each_time_for_programs(
    shared_stack: Stack, background: Callable[..., subprocess.Popen[str]]
) -> None:
    """With rates from the second on."""
    command = [sys.executable, "-m", "services.cli.main", "status", "--watch", "--json", "--state"]
    process = background(*command, str(shared_stack.state))
    assert process.stdout is not None
    first, second = (json.loads(process.stdout.readline()) for _ in range(2))
    assert second["time_ns"] > first["time_ns"]
    assert second["intake"]["accepted_per_s"] is not None


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        ([], 2, "which state directory"),
        (["--state", "STATE"], 1, "nothing runs on"),
        (["--state", "STATE", "--watch"], 1, "nothing runs on"),
        (["--state", "STATE", "--watch", "--intake"], 2, "--intake is shown once"),
        (["--state", "/nonexistent"], 1, "/nonexistent"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(
    words: list[str], status: int, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No stack, no state directory, options that do not go together."""
    (tmp_path / "VERSION").write_text("1\n")
    assert run(["status", *(str(tmp_path) if word == "STATE" else word for word in words)]) == status
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_alerts_that_fire_come_with_the_worst_first() -> None:
    """As health tells them, also with what a later version adds or an older one lacks."""
    told = {
        "firing": [
            {"rule": "slow", "severity": "info", "since_ns": 5_000_000_000, "text": "b", "later": 1},
            {"rule": "disk", "severity": "warning", "text": "a"},
            {"rule": "forged", "severity": "critical", "since_ns": 9_000_000_000, "text": "c"},
        ]
    }
    alerts = alerts_of(told, 10_000_000_000)
    assert [(one.name, one.for_s) for one in alerts] == [("forged", 1.0), ("disk", None), ("slow", 5.0)]
    assert alerts_of({}, 1) == ()


def test_memory_of_a_process_that_is_gone_is_unknown() -> None:
    """Not nothing."""
    assert resident_bytes(None) is None
    assert resident_bytes(2**22 + 1) is None


@pytest.mark.parametrize("status", [{}, {"started": "now", "accepted": "many"}, {"sensors": 7}])
def test_an_ingester_of_another_release_is_no_end_of_the_screen(
    status: dict[str, Any], tmp_path: Path
) -> None:
    """What it counts is unknown."""
    asker: Any = SimpleNamespace(ask=lambda *_: Answer(status))
    running: Any = SimpleNamespace(ingester=SimpleNamespace(control="tcp://127.0.0.1:9"))
    assert _Asking(tmp_path, asker)._intake(running, time.time_ns()) is None


def test_a_screen_in_a_pipe_has_no_colours_and_ends_when_there_is_no_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One empty line after each."""
    more = iter([True, False])

    def lines(look: Look) -> list[str]:
        assert look == Look()
        return ["one", "two"]

    watch(lines, lambda: next(more))
    assert capsys.readouterr().out == "one\ntwo\n\n" * 2


def test_a_frozen_health_service_is_not_waited_for(start_stack: Callable[..., Stack], tmp_path: Path) -> None:
    """It is down as any other service; what it would have told is said to be unknown."""
    source = FleetSource(start_stack(tmp_path / "state").state)
    until = time.monotonic() + 60
    while (fleet := source.look()).health:
        assert time.monotonic() < until, fleet.health
    (health,) = [one for one in fleet.seen.services if one.kind == "health"]
    assert health.pid is not None
    assert fleet.alerts is not None
    os.kill(health.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        frozen = source.look()
        assert time.monotonic() - began < 8
    finally:
        os.kill(health.pid, signal.SIGCONT)
        source.close()
    assert "did not answer" in frozen.health
    assert frozen.alerts is None
    assert {one.kind: one.answers for one in frozen.seen.services} == {
        "health": False,
        "ingester": True,
        "rag": True,
    }
