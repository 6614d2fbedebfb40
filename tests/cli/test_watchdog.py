"""A service that has gone silent is killed and started again; one that works, ends or was never watched is not."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.cli.child import Service
from services.cli.notices import Notice, Notices
from services.cli.supervisor import Member, Supervisor, Surroundings

if TYPE_CHECKING:
    Facts = dict[str, dict[str, Any]]

WATCHED = """
import json, os, signal, sys, threading
from services.common.observing.systemd import Notifier, Supervised
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
supervised = Supervised.take(os.environ)
notifier = Notifier(supervised)
notifier.ready()
print(json.dumps({"ready": True, "pid": os.getpid(), "watchdog_s": supervised.watchdog_s}), flush=True)
while not stop.wait(0.05):
    notifier.works()
notifier.stopping()
"""
READY, WORKS, STOPPING = (frozenset({line}) for line in ("READY=1", "WATCHDOG=1", "STOPPING=1"))


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service that says that it works."""
    (tmp_path / "watched_toy.py").write_text(WATCHED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    settings = tmp_path / "toy.toml"
    settings.touch()
    return Service("rag-1", "watched_toy", settings, tmp_path / "toy.log")


def test_a_frozen_service_is_killed_and_started_again(watched: Service) -> None:
    """SIGSTOP leaves a process that answers nobody: after the time of the watchdog another one takes its place."""
    said: list[str] = []
    ready: list[Facts] = []
    around = Surroundings(time.monotonic, threading.Event(), said.append, watchdog_s=1.0)

    def on_ready(facts: Facts) -> None:
        ready.append(facts)
        if len(ready) == 1:
            os.kill(facts["rag-1"]["pid"], signal.SIGSTOP)
        else:
            around.stop.set()

    Supervisor([watched], around).run(on_ready)
    before, after = (facts["rag-1"]["pid"] for facts in ready)
    assert before != after
    assert ready[0]["rag-1"]["watchdog_s"] == 1.0
    assert said[0] == f"rag-1 (process {before}) has not said for 1 s that it works, and is killed"
    assert "was ended by SIGKILL and is started again" in said[1]
    assert len(said) == 2


def test_a_service_that_works_is_left_alone(watched: Service) -> None:
    """For many times the time of the watchdog; and its orderly end is no silence."""
    said: list[str] = []
    around = Surroundings(time.monotonic, threading.Event(), said.append, watchdog_s=0.4)
    Supervisor([watched], around).run(lambda _: threading.Timer(2.0, around.stop.set).start())
    assert said == []


class Quiet:
    """A member with a child that sleeps, and a clock that the test moves."""

    def __init__(self, watched: Service, watchdog_s: float = 30.0) -> None:
        self.now = 0.0
        self.said: list[str] = []
        around = Surroundings(lambda: self.now, threading.Event(), self.said.append, watchdog_s=watchdog_s)
        self.member = Member(watched, around, {})
        self.member.step()
        assert self.member._child is not None
        self.pid = self.member._child.pid

    def after(self, seconds: float) -> bool:
        """Whether it is killed for its silence so many seconds later."""
        self.now += seconds
        before = len(self.said)
        self.member.step()
        return len(self.said) > before and "is killed" in self.said[-1]


@pytest.fixture
def quiet(watched: Service) -> Any:
    made = Quiet(watched)
    yield made
    made.member.ask_to_end()
    made.member.wait_for_end(20)


def test_who_was_never_ready_is_not_watched(quiet: Quiet) -> None:
    """A start may take its time, as at systemd; what another process says changes nothing."""
    assert not quiet.after(1000)
    quiet.member.hear(Notice(quiet.pid, WORKS))
    quiet.member.hear(Notice(quiet.pid + 1, READY))
    assert not quiet.after(1000)


def test_each_word_gives_time(quiet: Quiet) -> None:
    """Silence is counted from the last one; it is killed once, not at each look."""
    quiet.member.hear(Notice(quiet.pid, READY))
    assert not quiet.after(29)
    quiet.member.hear(Notice(quiet.pid, WORKS))
    assert not quiet.after(29)
    quiet.member.hear(Notice(quiet.pid + 1, WORKS))
    assert quiet.after(2)
    assert not quiet.after(0)


def test_time_in_which_nobody_was_heard_does_not_count(quiet: Quiet) -> None:
    """After the machine slept for an hour everybody has the time that was left."""
    quiet.member.hear(Notice(quiet.pid, READY))
    quiet.now += 3600
    quiet.member.slept(3600)
    assert not quiet.after(29)
    assert quiet.after(2)


def test_who_stops_is_not_watched(quiet: Quiet) -> None:
    """An orderly end may take longer than the time of the watchdog."""
    quiet.member.hear(Notice(quiet.pid, READY))
    quiet.member.hear(Notice(quiet.pid, STOPPING))
    assert not quiet.after(1000)


def test_a_supervisor_that_was_frozen_kills_nobody(watched: Service) -> None:
    """SIGSTOP of supervisor and service together for longer than the watchdog, as when a container is paused."""
    said: list[str] = []
    clock = [0.0]
    around = Surroundings(lambda: time.monotonic() + clock[0], threading.Event(), said.append, watchdog_s=5.0)

    def on_ready(facts: Facts) -> None:
        os.kill(facts["rag-1"]["pid"], signal.SIGSTOP)
        clock[0] += 60  # nobody ran for a minute
        threading.Timer(0.5, os.kill, (facts["rag-1"]["pid"], signal.SIGCONT)).start()
        threading.Timer(1.5, around.stop.set).start()

    Supervisor([watched], around).run(on_ready)
    assert said == []


def test_only_the_kernel_says_who_spoke() -> None:
    """A notice has the process id of its sender, whatever the text says; what is no text does no harm."""
    notices = Notices()
    try:
        environment = notices.environment(1.5)
        assert environment["WATCHDOG_USEC"] == "1500000"
        assert "WATCHDOG_USEC" not in notices.environment(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(environment["NOTIFY_SOCKET"])
            for data in (b"READY=1\nMAINPID=1\n", b"\xff\xfe", b"", b"x" * 10_000):
                sender.send(data)
        heard = list(notices.read())
        assert {notice.pid for notice in heard} == {os.getpid()}
        assert heard[0].lines == {"READY=1", "MAINPID=1"}
        assert list(notices.read()) == []
    finally:
        notices.close()


_FLOOD = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.settimeout(0)
    sender.connect(sys.argv[1].replace("@", chr(0), 1))
    for _ in range(10_000):
        sender.send(b"x")
except PermissionError:
    print("refused")
except BlockingIOError:
    print("full")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_nobody_else_on_the_machine_can_drown_the_word_of_a_service() -> None:
    """A queue of ten datagrams is all that the kernel keeps: who fills it would have healthy services killed."""
    notices = Notices()
    try:
        address = notices.environment(1.5)["NOTIFY_SOCKET"]
        told = subprocess.run(
            [sys.executable, "-c", _FLOOD, address], check=True, capture_output=True, text=True, timeout=30
        )
        assert told.stdout.split() == ["refused"]
        assert list(notices.read()) == []
    finally:
        notices.close()


def test_the_socket_is_for_its_own_user_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is private and goes with it, also where the temporary folder has a name too long for a socket."""
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    notices = Notices()
    place = Path(notices.environment(0)["NOTIFY_SOCKET"])
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    notices.close()
    assert not place.parent.exists()
