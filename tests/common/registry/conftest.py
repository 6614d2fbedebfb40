"""A real etcd on free ports, child processes that are always reaped, and patience with a limit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.common.registry.connect import open_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.common.registry.port import Registry

ETCD = Path("/usr/bin/etcd")

CHILD = """
import sys, time
from pathlib import Path
from services.common.registry.connect import open_registry
from services.common.registry.heartbeat import Heartbeat
from services.common.registry.port import Entry
url, state, name = sys.argv[1:]
beat = Heartbeat(open_registry(url, Path(state)), Entry("rag", name, "tcp://127.0.0.1:1"), dict)
beat.start()
print("started", flush=True)
time.sleep(600)
"""


def _wait_until(condition: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class EtcdServer:
    """One etcd process on loopback; its ports stay the same over restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder.with_suffix(".log")
        self.port, self._peer_port = _free_port(), _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def hostport(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        client, peer = f"http://{self.hostport}", f"http://127.0.0.1:{self._peer_port}"
        command = [str(ETCD), "--data-dir", str(self.folder), "--logger", "zap", "--log-level", "error"]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        command += ["--initial-cluster", f"default={peer}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        if not _wait_until(self._healthy, within_s=30):
            self.kill()
            pytest.fail(f"etcd did not start: {self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # The signal is taken when the process next runs: until then it may still answer.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def empty(self) -> None:
        shutil.rmtree(self.folder)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.hostport}/health", timeout=1) as answer:
                return json.load(answer)["health"] == "true"
        except (urllib.error.URLError, OSError):
            return False


@pytest.fixture(scope="session")
def make_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], EtcdServer]]:
    if not ETCD.exists():
        pytest.skip(f"{ETCD} is not installed (Debian package etcd-server)")
    with ExitStack() as running:

        def make() -> EtcdServer:
            server = EtcdServer(tmp_path_factory.mktemp("etcd") / "data")
            running.callback(server.kill)
            server.start()
            return server

        yield make


@pytest.fixture(scope="session")
def shared_etcd(make_etcd: Callable[[], EtcdServer]) -> EtcdServer:
    """An etcd that no test kills."""
    return make_etcd()


@pytest.fixture
def own_etcd(make_etcd: Callable[[], EtcdServer]) -> Iterator[EtcdServer]:
    """An etcd for one test to ill-treat."""
    server = make_etcd()
    yield server
    server.kill()


@pytest.fixture(params=["file", "etcd"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of each adapter in turn; every test gets a registry of its own."""
    if request.param == "file":
        return "file"
    prefix = "".join(char if char.isalnum() else "-" for char in request.node.name)
    return f"etcd://{request.getfixturevalue('shared_etcd').hostport}/{prefix}"


@pytest.fixture
def registry(url: str, tmp_path: Path) -> Iterator[Registry]:
    opened = open_registry(url, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool], float], bool]:
    return _wait_until


@pytest.fixture
def start_child() -> Iterator[Callable[[str, Path, str], subprocess.Popen[str]]]:
    """Start a process that registers rag/<name> and beats; it is killed and reaped at the end."""
    with ExitStack() as running:

        def start(url: str, state: Path, name: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", CHILD, url, str(state), name]
            child = running.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            running.callback(child.kill)
            assert child.stdout is not None
            assert child.stdout.readline() == "started\n"
            return child

        yield start
