"""A real etcd on free ports, child processes that are always reaped, and patience with a limit."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from real_etcd.member import MISSING, Member, installed
from real_etcd.member import wait_until as wait_until_true

from services.common.registry.connect import open_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.common.registry.port import Registry

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


@pytest.fixture(scope="session")
def make_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Member]]:
    if not installed():
        pytest.skip(MISSING)
    with ExitStack() as running:

        def make() -> Member:
            server = Member(tmp_path_factory.mktemp("etcd") / "data")
            running.callback(server.kill)
            server.start()
            return server

        yield make


@pytest.fixture(scope="session")
def shared_etcd(make_etcd: Callable[[], Member]) -> Member:
    """An etcd that no test kills."""
    return make_etcd()


@pytest.fixture
def own_etcd(make_etcd: Callable[[], Member]) -> Iterator[Member]:
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
    return wait_until_true


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
