"""The ingester as a process: what it says when it cannot start, what it answers, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from services.common.decisions.follower import DecisionFollower
from services.common.events.network_security_pb2 import Detection, DetectionBatch
from services.common.feedback.follower import read_feedback
from services.common.rpc_client import RpcRefused
from services.common.wire.keys import new_key_ring, read_key_ring
from services.feed.reliable import ReliableSender, ReliableSettings, new_origin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.days.names import StateNames

A_DAY = 86_400


@pytest.mark.usefixtures("models")
def test_a_whole_run(  # noqa: PLR0917 - fixtures
    launch: Callable[..., Any],
    ask: Callable[..., dict[str, Any]],
    send: Callable[..., int],
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
    state: StateNames,
    dead_letters: Callable[[], list[dict[str, Any]]],
) -> None:
    """It says where it listens, counts what comes, watches its folder, seals, ends well, and starts where it was."""
    inbox = state.root / "inbox"
    inbox.mkdir()
    today = int(time.time()) - 2
    first = launch(seal_after_quiet_s=1.0, watch=[str(inbox)], v1_pull="tcp://127.0.0.1:*")
    assert first.ready["service"] == "ingester"
    assert first.ready["pid"] == first.process.pid
    assert set(first.ready["endpoints"]) == {"v2", "v1_pull", "firewall_v1_pull", "control"}
    told = ask(first, "ping")
    assert {
        "service": "ingester",
        "name": "ingester",
        "pid": first.process.pid,
        "ready": True,
    }.items() <= told.items()
    assert (told["rows"], told["newest_generation"], told["why"]) == (None, None, "")
    assert send(first, [*make_events(30), b"nonsense", *make_events(3, "now", today - 3)]) == 34
    (inbox / "late.jsonl").write_bytes(b'{"eventId": "x"}\n')
    eventually("the folder was read", lambda: ask(first, "status")["refused"].get("no_event_timestamp"))
    status = ask(first, "status")
    assert (status["accepted"], status["duplicates"], status["paused"]) == (33, 0, False)
    assert status["refused"] == {"not_an_event": 1, "no_event_timestamp": 1}
    with pytest.raises(RpcRefused, match="Day 1999-01-01 has no events"):
        ask(first, "seal", day="1999-01-01")
    eventually("the past day is sealed", lambda: "day_sealed" in {line["event"] for line in first.log()})
    assert not state.day("2026-01-22").segments()
    eventually("all is indexed", lambda: set(ask(first, "status")["index_lag"].values()) == {0})
    assert first.end() == 0
    assert [record["reason"] for record in dead_letters()] == ["not_an_event", "no_event_timestamp"]
    assert {line["event"] for line in first.log()} == {"chain", "day_sealed", "stopping"}
    second = launch(seal_after_quiet_s=1.0, watch=[str(inbox)])
    assert send(second, make_events(30)) == 30
    assert ask(second, "status")["duplicates"] == 30
    assert second.end(signal.SIGINT) == 0


@pytest.mark.usefixtures("models")
def test_there_is_one_writer(launch: Callable[..., Any]) -> None:
    """A second ingester on the same state directory ends with a sentence; a killed one holds nothing."""
    first = launch()
    second = launch(ready=False)
    assert second.end(0) == 1
    assert "Another ingester writes" in _last_line(second)
    assert first.process.poll() is None
    first.end(signal.SIGKILL)
    launch()


@pytest.mark.usefixtures("models")
def test_acknowledged_feedback_outlives_a_kill(
    launch: Callable[..., Any], ask: Callable[..., dict[str, Any]], state: StateNames
) -> None:
    """What an analyst said and was acknowledged is there after kill -9, and sent again it is known."""
    said = {"feedback_id": "f-1", "event_id": "e-1", "analyst": "ana", "verdict": "false_positive"}
    first = launch()
    assert ask(first, "feedback", **said)["new"]
    first.end(signal.SIGKILL)
    assert list(read_feedback(state).verdicts.values()) == [("false_positive",)]
    second = launch()
    assert not ask(second, "feedback", **said)["new"]
    with pytest.raises(RpcRefused, match="says nothing") as refused:
        ask(second, "feedback", **{**said, "verdict": None})
    assert refused.value.code == "usage"
    assert second.end() == 0


@pytest.mark.usefixtures("models")
def test_acknowledged_decisions_outlive_a_kill(
    launch: Callable[..., Any], ask: Callable[..., dict[str, Any]], state: StateNames
) -> None:
    """What a firewall decided and was acknowledged is there after kill -9; sent again it is known, and not written."""

    def batch(numbers: range) -> bytes:
        decided = [Detection(src_ip=f"192.0.2.{n}", timestamp=1_769_083_200, action="BLOCK") for n in numbers]
        return DetectionBatch(detections=decided).SerializeToString()

    def send(to: Any, payload: bytes) -> tuple[int, int]:
        endpoint = to.ready["endpoints"]["v2"]
        settings = ReliableSettings(endpoint, new_origin("events"), decisions=True)
        with zmq.Context() as context, ReliableSender(context, settings, read_key_ring(state.keys)) as sender:
            sender.send(payload)
            sender.flush()
            return sender.counts.accepted, sender.counts.duplicates

    first = launch()
    assert send(first, batch(range(1, 9))) == (8, 0)
    first.end(signal.SIGKILL)
    known = DecisionFollower(state)
    known.poll()
    assert (len(known.page), known.faults) == (8, ())
    second = launch()
    assert send(second, batch(range(5, 12))) == (3, 4)
    assert ask(second, "status")["decisions"]["accepted"] == 3
    assert second.end() == 0
    known.poll()
    assert (len(known.page), known.page.end) == (11, 11)


def _last_line(ingester: Any) -> str:
    lines = ingester._file.with_suffix(".log").read_text().splitlines()
    assert not any("Traceback" in line for line in lines)
    return lines[-1]


def _start(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.ingester.main", *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env=os.environ | (env or {})
    )


@pytest.fixture
def settings_file(state: StateNames, tmp_path: Path) -> Path:
    if not state.keys.exists():
        new_key_ring(state.keys)
    path = tmp_path / "ingester.toml"
    path.write_text(f'state = "{state.root}"\nkeys = "{state.keys}"\n')
    return path


def _sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a start which failed says, behind those of its log."""
    assert done.stdout == ""
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("{"))
    assert line.startswith("appia-ingester: ")
    return line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense = 1", "unknown setting 'nonsense'"),
        ("queue_bytes = 5", "'queue_bytes' is 5"),
        ('compression = "zip"', "fast, balanced or maximum"),
        ("disk_stop_percent = 0", "'disk_stop_percent' is 0"),
        ("seal_after_quiet_s = 'x'", "'seal_after_quiet_s'"),
        ("= 5", "is not TOML"),
        ('v1_pull = "tcp://0.0.0.0:5571"', "allow_public_v1"),
        ('registry = "zookeeper"', "zookeeper"),
        ('v2_channel = "a|b"', "a|b"),
    ],
)
@pytest.mark.usefixtures("models")
def test_settings_that_are_wrong(settings_file: Path, line: str, words: str) -> None:
    """One sentence that names the setting, and exit status 2."""
    settings_file.write_text(settings_file.read_text() + line + "\n")
    done = _start("--settings", str(settings_file))
    assert words in _sentence(done)
    assert done.returncode == 2


def test_settings_that_are_missing(tmp_path: Path) -> None:
    done = _start("--settings", str(tmp_path / "absent.toml"))
    assert "cannot be read" in _sentence(done)
    (tmp_path / "empty.toml").write_text("")
    empty = _start("--settings", str(tmp_path / "empty.toml"))
    assert "lacks the setting" in _sentence(empty)
    assert (done.returncode, empty.returncode) == (2, 2)


def test_the_environment_wins_and_is_checked(settings_file: Path) -> None:
    done = _start("--settings", str(settings_file), env={"APPIA_INGESTER_QUEUE_BYTES": "7"})
    assert "APPIA_INGESTER_QUEUE_BYTES" in _sentence(done)
    assert done.returncode == 2


def test_a_newer_layout_is_left_alone(settings_file: Path, state: StateNames) -> None:
    state.version.write_text("999\n")
    done = _start("--settings", str(settings_file))
    assert "install a newer appia" in _sentence(done)
    assert done.returncode == 1


def test_without_models_it_says_how_to_make_them(settings_file: Path) -> None:
    done = _start("--settings", str(settings_file))
    assert "appia models build" in _sentence(done)
    assert done.returncode == 1


@pytest.mark.parametrize("fault", ["mode", "absent", "damaged"])
@pytest.mark.usefixtures("models")
def test_keys_that_cannot_be_used(settings_file: Path, state: StateNames, fault: str) -> None:
    """A seed that others can read, no ring, or a ring that is no JSON."""
    wire = state.keys / "wire"
    if fault == "mode":
        next(wire.glob("*.seed")).chmod(0o644)
    elif fault == "absent":
        (wire / "ring.json").unlink()
    else:
        (wire / "ring.json").chmod(0o600)
        (wire / "ring.json").write_text("{")
        (wire / "ring.json").chmod(0o400)
    done = _start("--settings", str(settings_file))
    assert str(state.keys) in _sentence(done)
    assert done.returncode == 1


@pytest.mark.usefixtures("models")
def test_a_port_in_use_is_said(settings_file: Path) -> None:
    """For each endpoint that it binds: one sentence, and no thread or socket keeps the process."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as taken:
        taken.bind("tcp://127.0.0.1:*")
        endpoint = taken.getsockopt_string(zmq.LAST_ENDPOINT)
        before = settings_file.read_text()
        for key in ("v2", "v1_pull", "control"):
            settings_file.write_text(f'{before}{key} = "{endpoint}"\n')
            done = _start("--settings", str(settings_file))
            assert endpoint in _sentence(done)
            assert done.returncode == 1


ENDS_WITHIN_S = 20.0


@pytest.mark.usefixtures("models")
def test_a_disk_that_fails_ends_the_process(
    launch: Callable[..., Any],
    make_event: Callable[..., bytes],
    send: Callable[..., int],
    state: StateNames,
) -> None:
    """Where the log cannot be written any more the process ends with status 1, so that its supervisor sees it."""
    ingester = launch()
    send(ingester, [make_event()])
    target = state.root / "days"
    target.rename(state.root / "gone")
    target.write_bytes(b"")
    settings = ReliableSettings(ingester.ready["endpoints"]["v2"], new_origin("events"), backfill=True)
    with zmq.Context() as context, ReliableSender(context, settings, read_key_ring(state.keys)) as sender:
        sender.send(make_event("other", 1_600_000_000))
        until = time.monotonic() + ENDS_WITHIN_S
        while ingester.process.poll() is None:
            assert time.monotonic() < until, f"it goes on: {sender.counts}"
            sender.poll()
            time.sleep(0.05)
        assert sender.counts.acknowledged == 0
    assert ingester.process.returncode == 1
    assert "Not a directory" in ingester._file.with_suffix(".log").read_text().splitlines()[-1]


@pytest.mark.usefixtures("models")
def test_a_writer_that_was_replaced_takes_no_more_and_says_by_whom(
    launch: Callable[..., Any], ask: Callable[..., dict[str, Any]], state: StateNames
) -> None:
    """Promise 6: who finds a higher epoch in the state directory stops by itself, with one sentence."""
    ingester = launch()
    mark = json.loads(state.writer.read_text())
    assert ask(ingester, "status")["writer"] == {"epochs": [mark["epoch"]], "faults": []}
    newer = {**mark, "epoch": mark["epoch"] + 1, "token": "0" * 32, "host": "elsewhere"}
    staged = state.writer.with_suffix(".staged")
    staged.write_text(json.dumps(newer))
    staged.rename(state.writer)
    assert ingester.process.wait(30) == 1
    assert "on 'elsewhere') has taken over" in _last_line(ingester)
    ingester.end()
