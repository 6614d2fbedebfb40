"""Runs the command as a user does, in a process of its own, and makes small services for the supervisor."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.cli.child import Service
from services.cli.running import read_running
from services.cli.store_folder import model_store_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.cli.running import Running

    Appia = Callable[..., subprocess.CompletedProcess[str]]

SAMPLE = Path(__file__).parents[2] / "samples" / "office-day.csv.gz"

TOY = """
import json, os, pathlib, signal, sys, threading
settings = pathlib.Path(sys.argv[2])
log, mode = settings.read_text().split()
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: None if mode == "deaf" else stop.set())
if mode == "broken":
    sys.exit("appia-toy: it is broken")
if mode == "wrong":
    print("appia-toy: there is no such setting", file=sys.stderr)
    sys.exit(2)
print(json.dumps({"ready": True, "service": "toy", "pid": os.getpid()}), flush=True)
if mode == "brief":
    sys.exit(3)
stop.wait()
with open(log, "a") as file:
    file.write(settings.stem + "\\n")
"""


@pytest.fixture(autouse=True)
def _own_umask() -> Iterator[None]:
    """Commands that run in this process set its umask, which is not for the tests after them."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer has set must not decide what a test finds."""
    for name in [name for name in os.environ if name.startswith("APPIA_") and name != "APPIA_MODELS"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def appia() -> Appia:
    """Run a command line to its end; `env` and `input` as keywords."""

    def run(
        *words: str, env: dict[str, str] | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "services.cli.main", *words]
        return subprocess.run(
            command, env=os.environ | (env or {}), input=stdin, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Service]:
    """Make a service that says it is ready and ends at SIGTERM; other modes misbehave, see TOY."""
    (tmp_path / "toys").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "toys"))

    def make(name: str, mode: str = "good", kind: str = "toy") -> Service:
        (tmp_path / "toys" / f"{kind}.py").write_text(TOY)
        settings = tmp_path / f"{name}.toml"
        settings.write_text(f"{tmp_path / 'stopped'} {mode}")
        return Service(name, kind, settings, tmp_path / f"{name}.log")

    return make


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait until a condition holds; fail with its name after a minute, which no sound machine needs."""

    def wait(what: str, condition: Callable[[], object]) -> None:
        until = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < until, f"never came true: {what}"
            time.sleep(0.02)

    return wait


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Say whether a process runs; a zombie does not."""

    def look(pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - /proc
                return file.read().rpartition(")")[2].split()[0] not in "ZX"
        except FileNotFoundError:
            return False

    return look


@pytest.fixture
def background() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command line and leave it running; what is left at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


class Stack:
    """A running `appia up` on a state directory of its own."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state = state
        command = [sys.executable, "-m", "services.cli.main", "up", "--state", str(state), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while not self._is_ready():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until, "the stack did not start"
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        try:
            return bool(json.loads((self.state / "endpoints.json").read_text())["pid"] == self.process.pid)
        except FileNotFoundError:
            return False

    @property
    def running(self) -> Running:
        return read_running(self.state)

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        """Send a signal, and return exit status, standard output and standard error."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture(scope="session")
def _models() -> None:
    store = model_store_folder(
        Path(os.environ["APPIA_MODELS"]) if "APPIA_MODELS" in os.environ else None, os.environ
    )
    if not (store / "temporal" / "ACTIVE").exists():
        pytest.skip(f"no models are in {store}: run `appia models build`")


@pytest.fixture
def start_stack(_models: None) -> Iterator[Callable[..., Stack]]:
    """Start `appia up --state STATE OPTION...`; it is killed at the end of the test if it runs still."""
    stacks: list[Stack] = []

    def start(state: Path, *options: str) -> Stack:
        stacks.append(Stack(state, *options))
        return stacks[-1]

    yield start
    for stack in stacks:
        if stack.process.poll() is None:
            stack.process.kill()
        stack.process.communicate()


@pytest.fixture(scope="session")
def shared_stack(_models: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack with 300 flows of the sample for all tests that only ask, or feed what they alone know."""
    stack = Stack(tmp_path_factory.mktemp("shared") / "state", "--replicas", "2")
    feed = [sys.executable, "-m", "services.cli.main", "feed", "--state", str(stack.state)]
    what = ["--format", "cicflowmeter", "--limit", "300", str(SAMPLE)]
    subprocess.run([*feed, *what], check=True, capture_output=True)
    yield stack
    status, _, err = stack.stop()
    usual = "made a new key", "waiting for"  # the latter on a machine that is busy
    assert (status, [line for line in err.splitlines() if not any(map(line.__contains__, usual))]) == (0, [])


@pytest.fixture(scope="session")
def sealed_sample(_models: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with the whole sample, labels in the metadata only, sealed; nothing runs on it."""
    state = tmp_path_factory.mktemp("sealed") / "state"
    stack = Stack(state)
    appia = [sys.executable, "-m", "services.cli.main"]
    where = ["--state", str(state)]
    feed = ["feed", "--format", "cicflowmeter", "--labels", "metadata", str(SAMPLE), *where]
    subprocess.run([*appia, *feed], check=True, capture_output=True)
    for day in (state / "days").iterdir():
        subprocess.run([*appia, "seal", day.name, *where], check=True, capture_output=True)
    assert stack.stop()[0] == 0
    return state


@pytest.fixture
def own_models(_models: None, tmp_path: Path) -> Path:
    """A copy of the model store, for a test that changes it."""
    given = os.environ.get("APPIA_MODELS")
    return shutil.copytree(
        model_store_folder(None if given is None else Path(given), os.environ), tmp_path / "models"
    )


@pytest.fixture
def ask(shared_stack: Stack, appia: Appia) -> Callable[..., dict[str, Any]]:
    """Ask the shared stack for JSON."""

    def run(*words: str) -> dict[str, Any]:
        done = appia(*words, "--state", str(shared_stack.state), "--json")
        assert (done.returncode, done.stderr) == (0, ""), done
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return run


@pytest.fixture
def sample() -> Path:
    """Traffic recorded by the project: thousands of flows of one day."""
    return SAMPLE


@pytest.fixture
def etcd(tmp_path: Path, eventually: Callable[..., None]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The registry URL of a real etcd, and its process."""
    if shutil.which("etcd") is None:
        pytest.skip("there is no etcd: install etcd-server")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        client, peer = (f"http://127.0.0.1:{server.getsockname()[1]}" for server in (one, two))
    command = ["etcd", "--data-dir", str(tmp_path / "etcd"), "--logger", "zap", "--log-level", "error"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"default={peer}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        eventually("etcd is healthy", lambda: is_healthy(client))
        yield f"etcd://{client.removeprefix('http://')}/test", process
        process.kill()


def is_healthy(client: str) -> bool:
    try:
        with urllib.request.urlopen(f"{client}/health", timeout=2) as answer:  # noqa: S310 - loopback
            return bool(json.load(answer)["health"] == "true")
    except OSError:
        return False
