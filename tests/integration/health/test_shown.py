"""Each failure is made to happen on a running stack; it ends with the right alert and repair, and no wrong one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import zmq

from services.common.days.names import read_pointer
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.registry.connect import open_registry
from services.common.registry.heartbeat import Heartbeat
from services.common.registry.port import Entry
from services.common.rpc_server import RpcServer, RpcSettings
from services.common.wire.keys import DEFAULT_V2_CHANNEL, read_key_ring
from services.feed.reliable import ReliableSender, ReliableSettings, new_origin

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

INDEX = "attack"


def served(well: Any, index: str = INDEX) -> Path:
    """The folder of an index that is served."""
    (day,) = well.stack.names.days()
    names = well.stack.names.day(day)
    generation = names.generation(read_pointer(names.current))
    return Path(generation.index_version(index, read_pointer(generation.index_current(index))))


def about(well: Any, index: str = INDEX) -> str:
    (day,) = well.stack.names.days()
    return f"{day}/{index}"


def is_whole(well: Any) -> bool:
    days = well.fleet()["days"]
    return bool(days) and all(index["state"] == "ok" for day in days for index in day["indices"])


def test_a_deleted_index_file_is_made_anew(well: Any, eventually: Callable[..., None]) -> None:
    """One alert that an index is missing, a repair, and the alert is over; health was killed in between."""
    before = served(well)
    victim = next(path for path in before.iterdir() if path.name != "manifest.json")
    victim.unlink()
    well.fires("index_missing", about(well))
    well.kill_health()
    eventually("the index is made anew", lambda: served(well) != before and is_whole(well))
    well.is_well()
    assert well.fired() == {("index_missing", about(well))}
    eventually("the attempt is forgotten", lambda: well.fleet()["attempts"] == [])
    assert well.stack.appia("similar", any_event(well), "-k", "3", "--index", INDEX, "--flat")["hits"]


def test_a_flipped_bit_is_found_and_repaired(well: Any, eventually: Callable[..., None]) -> None:
    """Nothing but reading every byte shows it; the index is made anew."""
    before = served(well)
    victim = max(
        (path for path in before.iterdir() if path.name != "manifest.json"), key=lambda p: p.stat().st_size
    )
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.chmod(0o640)
    victim.write_bytes(data)
    well.fires("index_corrupt", about(well))
    eventually("the index is made anew", lambda: served(well) != before and is_whole(well))
    well.is_well()
    assert well.fired() == {("index_corrupt", about(well))}
    well.stack.appia("verify")


def test_a_frozen_replica_is_down_until_it_is_started_anew(
    well: Any, eventually: Callable[..., None]
) -> None:
    """It hangs without a word, so it is killed and started by the supervisor, and told of once."""
    (replica,) = well.stack.now.replicas
    os.kill(replica.pid, signal.SIGSTOP)
    well.fires("service_down", "rag/rag-1")
    eventually(
        "another process answers", lambda: well.service("rag/rag-1").get("pid") not in {None, replica.pid}
    )
    well.is_well()
    assert well.fired() <= {("service_down", "rag/rag-1"), ("service_restarts", "rag/rag-1")}


def test_a_killed_ingester_is_back_and_nobody_else_is_blamed(
    well: Any, eventually: Callable[..., None]
) -> None:
    """Its restart is told; replicas, days and the disk are as they were."""
    pid = well.stack.now.ingester.pid
    os.kill(pid, signal.SIGKILL)
    eventually(
        "another ingester answers", lambda: well.service("ingester/ingester").get("pid") not in {None, pid}
    )
    well.fires("service_restarts", "ingester/ingester")
    well.is_well()
    own = ("service_down", "service_restarts")
    assert {one for one in well.fired() if one[0] not in own or one[1] != "ingester/ingester"} == set()


class Live:
    """Sends events as they happen, as a sensor of version 2 does."""

    def __init__(self, well: Any) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        settings = ReliableSettings(well.stack.now.ingester.v2, new_origin(DEFAULT_V2_CHANNEL))
        self._sender = ReliableSender(self._context, settings, read_key_ring(well.stack.names.keys))
        self._number = 0

    def send(self, name: str) -> None:
        """Send one event and wait until it is on disk."""
        self._number += 1
        event = NetworkSecurityEvent(event_id=f"{name}-{time.time_ns()}", originating_node_id=name)
        event.event_timestamp.GetCurrentTime()
        flow = event.network_features
        flow.source_ip, flow.destination_ip = "10.0.0.7", "192.0.2.1"
        self._sender.send(event.SerializeToString())
        self._sender.flush()

    def close(self) -> None:
        self._sender.close()
        self._context.term()


def test_a_sensor_that_falls_silent_is_told_of_and_another_is_not(
    well: Any, eventually: Callable[..., None], closing: ExitStack
) -> None:
    """The alert ends when it sends again, whatever becomes of health meanwhile. One that is taken out is forgotten."""
    sensors = Live(well)
    closing.callback(sensors.close)
    sensors.send("quiet")

    def other_goes_on() -> bool:
        sensors.send("steady")
        return ("sensor_silent_s", "quiet") in well.alerts()

    eventually("the silence is told", other_goes_on)
    well.kill_health()
    assert ("sensor_silent_s", "quiet") in well.alerts()
    sensors.send("quiet")
    eventually("it is over", lambda: ("sensor_silent_s", "quiet") not in well.alerts())
    assert ("sensor_silent_s", "steady") not in well.fired()
    for name in ("quiet", "steady"):
        assert well.ask("forget", sensor=name) == {"forgotten": name}
    eventually("both are forgotten", lambda: well.fleet()["sensors"] == [])
    well.is_well()
    assert {one for one in well.fired() if one[0] != "sensor_silent_s"} == set()


class Neighbour:
    """A service of another machine that this one knows by the registry; its clock goes wrong."""

    def __init__(self, well: Any, ahead_s: float) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        log = structlog.wrap_logger(structlog.ReturnLogger())
        handlers = {"ping": lambda _args, _deadline: self._ping(ahead_s)}
        self._server = RpcServer(self._context, RpcSettings("tcp://127.0.0.1:*", 1), handlers, log)
        self._registry = open_registry("file", well.state)
        entry = Entry("rag", "neighbour", self._server.endpoint)
        self._beat = Heartbeat(self._registry, entry, dict)
        self._server.start()
        self._beat.start()

    @staticmethod
    def _ping(ahead_s: float) -> dict[str, Any]:
        return {"pid": os.getpid(), "time_ns": time.time_ns() + int(ahead_s * 1e9), "ready": True, "why": ""}

    def close(self) -> None:
        self._beat.stop()
        self._server.stop()
        self._registry.close()
        self._context.term()


def test_a_clock_that_is_wrong_is_told_of(well: Any, closing: ExitStack) -> None:
    """Five seconds behind; the clocks of the others are right. A service that leaves in order is no alert."""
    neighbour = Neighbour(well, -5.0)
    closing.callback(neighbour.close)
    well.fires("clock_offset_s", "rag/neighbour")
    assert well.service("rag/neighbour")["clock_offset_s"] == pytest.approx(-5, abs=0.5)
    closing.close()
    well.is_well()
    assert well.fired() == {("clock_offset_s", "rag/neighbour")}


def test_a_configuration_that_does_not_work_is_taken_back_and_told(
    well: Any, eventually: Callable[..., None]
) -> None:
    """The ingester would pause at 1 % of the disk, goes back to what worked, and says so until it is put right."""
    assert run(well, "config", "set", "ingester.disk_stop_percent=1", "--note", "too careful") != 0
    well.fires("config_refused", "ingester/ingester")
    eventually("events are taken again", lambda: not well.fleet()["intake"]["paused"])
    assert run(well, "config", "rollback") == 0
    well.is_well()
    assert ("service_down", "ingester/ingester") not in well.fired()
    assert {one[0] for one in well.fired()} <= {"config_refused", "intake_paused"}


def test_messages_wait_for_a_receiver_that_is_away(
    well: Any, eventually: Callable[..., None], closing: ExitStack
) -> None:
    """It is down while something begins and ends and health is killed; each message comes, and comes once."""
    well.hook.stop()
    closing.callback(well.hook.start)
    before = len(well.hook.got)
    neighbour = Neighbour(well, 30.0)

    def is_told() -> bool:
        firing = well.ask("alerts")["firing"]
        return any(one["subject"] == "rag/neighbour" and one["told_to"] for one in firing)

    eventually("a message waits", is_told)
    well.kill_health()
    neighbour.close()
    well.is_well()
    closing.close()
    eventually("the messages come", lambda: not well.ask("alerts")["channels"]["hook"]["waiting"])
    told = [str(message) for message in well.hook.got[before:]]
    assert [text for text in told if "rag/neighbour" in text]
    assert len(told) == len(set(told))


def test_health_is_small_and_has_none_of_the_heavy_libraries(well: Any) -> None:
    """Less than 60 MB (of 2^20 bytes) resident after all it does; what is heavy is in its children."""
    process = Path("/proc") / str(well.health_pid())
    lines = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    assert int(lines["VmRSS"].split()[0]) < 60 * 1024
    maps = (process / "maps").read_text()
    assert "zmq" in maps
    assert not [name for name in ("faiss", "numpy", "onnxruntime", "tokenizers", "apprise") if name in maps]


def run(well: Any, *words: str) -> int:
    """The exit status of a command on the stack."""
    command = [sys.executable, "-m", "services.cli.main", *words, "--state", str(well.state)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def any_event(well: Any) -> str:
    return str(well.stack.appia("list", "--limit", "1")["events"][0]["event_id"])
