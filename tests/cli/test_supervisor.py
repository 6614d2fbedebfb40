"""Children are started, watched, started again and stopped in order, and never outlive their supervisor."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from services.cli.child import Service
from services.cli.supervisor import HEALTHY_S, LONGEST_DELAY_S, Member, Supervisor, Surroundings
from services.common.errors import AppiaError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Toy = Callable[..., Service]
    Facts = dict[str, dict[str, Any]]

SUPERVISE = """
import pathlib, sys, threading, time
from services.cli.child import Service
from services.cli.supervisor import Supervisor, Surroundings
name, kind, settings, log = sys.argv[1:]
around = Surroundings(time.monotonic, threading.Event(), lambda _: None)
service = Service(name, kind, pathlib.Path(settings), pathlib.Path(log))
Supervisor([service], around).run(lambda facts: print(facts[name]["pid"], flush=True))
"""


class News:
    """Collects what a supervisor says, and stops it when told to."""

    def __init__(
        self, stop_s: float = 20.0, clock: Callable[[], float] = time.monotonic, watchdog_s: float = 0.0
    ) -> None:
        self.said: list[str] = []
        self.ready: list[Facts] = []
        self.around = Surroundings(clock, threading.Event(), self.said.append, stop_s, watchdog_s)


def test_all_are_ready_once_and_stopped_in_order(toy: Toy, tmp_path: Path) -> None:
    """The last services are stopped first, the ingester when no replica is left, and stopping is no fault."""
    news = News()

    def on_ready(facts: Facts) -> None:
        news.ready.append(facts)
        news.around.stop.set()

    services = [toy("ingester", kind="first"), toy("rag-1", kind="second"), toy("rag-2", kind="second")]
    Supervisor(services, news.around).run(on_ready)
    assert [sorted(facts) for facts in news.ready] == [["ingester", "rag-1", "rag-2"]]
    stopped = (tmp_path / "stopped").read_text().split()
    assert (sorted(stopped[:2]), stopped[2:]) == (["rag-1", "rag-2"], ["ingester"])
    assert news.said == []


def test_a_killed_child_is_started_again(toy: Toy) -> None:
    """After kill -9 a new process takes its place, which is told with its new process id."""
    news = News()

    def on_ready(facts: Facts) -> None:
        news.ready.append(facts)
        if len(news.ready) == 1:
            os.kill(facts["rag-1"]["pid"], signal.SIGKILL)
        else:
            news.around.stop.set()

    Supervisor([toy("ingester"), toy("rag-1")], news.around).run(on_ready)
    before, after = news.ready
    assert before["ingester"]["pid"] == after["ingester"]["pid"]
    assert before["rag-1"]["pid"] != after["rag-1"]["pid"]
    assert len(news.said) == 1
    assert "rag-1" in news.said[0]
    assert "was ended by SIGKILL and is started again in 0.2 s" in news.said[0]


def test_a_service_that_does_not_start_ends_everything(toy: Toy, tmp_path: Path) -> None:
    """Three ends before it was ever ready are enough; its own sentence is passed on and nobody is left."""
    news = News()
    with pytest.raises(AppiaError, match="rag-1 does not start: it is broken"):
        Supervisor([toy("ingester"), toy("rag-1", "broken")], news.around).run(news.ready.append)
    assert news.ready == []
    assert len(news.said) == 2
    assert (tmp_path / "stopped").read_text().split() == ["ingester"]


def test_wrong_settings_are_not_tried_again(toy: Toy) -> None:
    """Exit status 2 says that the settings are wrong, and they are the same the next time."""
    news = News()
    with pytest.raises(AppiaError, match="ingester does not start: there is no such setting"):
        Supervisor([toy("ingester", "wrong")], news.around).run(news.ready.append)
    assert news.said == []


def test_a_child_that_does_not_stop_is_killed(toy: Toy, alive: Callable[[int], bool]) -> None:
    """A service that is deaf to SIGTERM gets its time and is killed then, which is said."""
    news = News(stop_s=0.1)

    def on_ready(facts: Facts) -> None:
        news.ready.append(facts)
        news.around.stop.set()

    Supervisor([toy("ingester", "deaf")], news.around).run(on_ready)
    assert not alive(news.ready[0]["ingester"]["pid"])
    assert len(news.said) == 1
    assert "does not stop and is killed" in news.said[0]


def test_delays_double_up_to_a_limit_and_begin_anew(toy: Toy, eventually: Callable[..., None]) -> None:
    """A child that ends again and again is waited for longer each time, until it has lived for a while."""
    now = [0.0]
    news = News(clock=lambda: now[0])
    member = Member(toy("rag-1", "brief"), news.around, {})

    def one_life(lived_s: float) -> None:
        said = len(news.said)
        member.step()
        now[0] += lived_s

        def ended() -> bool:
            member.step()
            return len(news.said) > said

        eventually("the end is noticed", ended)
        now[0] += LONGEST_DELAY_S

    for _ in range(7):
        one_life(0.0)
    one_life(HEALTHY_S)
    delays = [line.partition("again in ")[2].partition(" s;")[0] for line in news.said]
    assert delays == ["0.2", "0.4", "0.8", "1.6", "3.2", "5", "5", "0.2"]
    member.wait_for_end(0.0)


def test_children_die_with_a_supervisor_that_is_killed(
    toy: Toy,
    background: Callable[..., subprocess.Popen[str]],
    alive: Callable[[int], bool],
    eventually: Callable[..., None],
) -> None:
    """After kill -9 of the supervisor no service is left that nobody watches, not even a deaf one."""
    service = toy("rag-1", "deaf")
    arguments = service.name, service.module, str(service.settings), str(service.log)
    supervisor = background(sys.executable, "-c", SUPERVISE, *arguments)
    assert supervisor.stdout is not None
    pid = int(supervisor.stdout.readline())
    assert alive(pid)
    supervisor.kill()
    supervisor.wait()
    eventually("the child is gone", lambda: not alive(pid))


def test_the_log_starts_anew_when_it_is_long(toy: Toy, tmp_path: Path) -> None:
    """A log of more than 16 MiB is set aside at the next start, so that it cannot fill the disk."""
    news = News()
    service = toy("ingester")
    with service.log.open("wb") as log:
        log.truncate((16 << 20) + 1)
    Supervisor([service], news.around).run(lambda _facts: news.around.stop.set())
    assert service.log.stat().st_size == 0
    assert (tmp_path / "ingester.log.1").stat().st_size == (16 << 20) + 1


def test_a_service_may_say_more_than_that_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning before the line that matters, and much output after it, do no harm."""
    (tmp_path / "chatty.py").write_text(
        "import json, sys, time\n"
        "print('a warning')\n"
        "print(json.dumps([]))\n"
        "print(json.dumps({'ready': True, 'pid': 1}), flush=True)\n"
        "print('x' * 300000, flush=True)\n"
        "open(sys.argv[2] + '.done', 'w').close()\n"
        "time.sleep(600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    news = News()

    def on_ready(facts: Facts) -> None:
        news.ready.append(facts)
        threading.Thread(target=wait_and_stop).start()

    def wait_and_stop() -> None:
        while not (tmp_path / "chatty.toml.done").exists():
            time.sleep(0.02)
        news.around.stop.set()

    Supervisor([Service("chatty", "chatty", tmp_path / "chatty.toml", tmp_path / "log")], news.around).run(
        on_ready
    )
    assert news.ready == [{"chatty": {"ready": True, "pid": 1}}]
