"""Whole stacks of real processes, started by the command that users start, and what they hold in the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.cli.ask import Asking
from services.cli.asking import ask
from services.cli.running import Running, read_running
from services.cli.store_folder import model_store_folder
from services.common.days.names import StateNames, read_pointer
from services.common.days.open_reader import OpenSegmentReader
from services.common.days.sealed_reader import SealedReader
from services.common.errors import AppiaError
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.feed.readers import reader_of
from services.feed.readers.port import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).parents[2]
APPIA = [sys.executable, "-m", "services.cli.main"]
ETCD = Path("/usr/bin/etcd")
PATIENCE_S = 60.0


def wait_until(what: str, condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"never came true: {what}"
        time.sleep(0.05)


class Stack:
    """A running `appia up`; a start waits until it is ready."""

    def __init__(self, state: Path, *options: str) -> None:
        self.names = StateNames(state)
        self._options = options
        self.start()

    def start(self) -> None:
        self._log = self.names.root.with_suffix(".up.log")
        command = [*APPIA, "up", "--state", str(self.names.root), *self._options]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until("the stack is ready", lambda: self.running is not None)

    @property
    def running(self) -> Running | None:
        """What `endpoints.json` says of this very start; None before it is ready."""
        assert self.process.poll() is None, self._log.read_text()
        with contextlib.suppress(AppiaError):
            found = read_running(self.names.root)
            return found if found.pid == self.process.pid else None
        return None

    @property
    def now(self) -> Running:
        """The same, for a stack that is ready."""
        found = self.running
        assert found is not None
        return found

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)

    def appia(self, *words: str) -> Any:
        """Run a command on this stack to its end, and give the JSON that it prints."""
        done = subprocess.run(
            [*APPIA, *words, "--state", str(self.names.root), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (words, done.stderr)
        return json.loads(done.stdout)

    def feed(self, *words: str) -> subprocess.Popen[str]:
        """Start a feed and leave it running; end it with `summary`."""
        command = [*APPIA, "feed", "--state", str(self.names.root), "--json", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def rows(self) -> dict[str, int]:
        """Events that the replicas serve, by day, with all indices: what `appia days` asks, without a new process."""
        days = ask(Asking(state=self.names.root), "days", {})["days"]
        return {day["day"]: min([day["rows"], *(i["rows"] for i in day["indices"].values())]) for day in days}

    def wait_for_rows(self, rows: int) -> dict[str, int]:
        found: dict[str, int] = {}

        def are_served() -> bool:
            found.clear()
            found.update(self.rows())
            return sum(found.values()) >= rows

        wait_until(f"{rows} events are served", are_served)
        return found

    def ids(self) -> Counter[str]:
        """How often each event is there, read from the files as a replica maps them."""
        found: Counter[str] = Counter()
        for day in self.names.days():
            names = self.names.day(day)
            current, through = read_pointer(names.current), 0
            if current is not None:
                sealed = SealedReader(day, names.generation(current))
                through = sealed.through_segment
                found.update(_ids(sealed.view()))
            for number in names.segments():
                if number > through:
                    reader = OpenSegmentReader(day, names.segment(number))
                    found.update(_ids(reader.view()))
                    reader.close()
        return found


def _ids(view: Any) -> list[str]:
    assert view.missing == {}
    return [fields["event_id"] for fields in view.events.fetch(range(view.rows))]


def summary(feeding: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the end of a feed that has to be a good one, and give what it says of itself."""
    out, err = feeding.communicate(timeout=120)
    assert (feeding.returncode, err) == (0, "")
    return dict(json.loads(out))


@pytest.fixture(scope="session")
def end_of() -> Callable[[subprocess.Popen[str]], dict[str, Any]]:
    """Wait for the end of a feed; see `summary`."""
    return summary


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    return wait_until


@pytest.fixture(scope="module")
def start_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:
    """Start `appia up` on a new state directory; whatever runs still at the end of the module is ended."""
    given = os.environ.get("APPIA_MODELS")
    store = model_store_folder(Path(given) if given else None, os.environ)
    if not (store / "temporal" / "ACTIVE").exists():
        pytest.skip(f"no models are in {store}: run `appia models build`")
    stacks: list[Stack] = []

    def make(*options: str, state: Path | None = None) -> Stack:
        state = state or tmp_path_factory.mktemp("stack") / "state"
        stacks.append(Stack(state, "--models", str(store), *options))
        return stacks[-1]

    yield make
    assert [stack.end() for stack in stacks] == [0] * len(stacks)


@pytest.fixture(scope="session")
def sample() -> Path:
    """Traffic that the project recorded itself."""
    return PROJECT / "samples" / "office-day.csv.gz"


@pytest.fixture(scope="session")
def feeds() -> Path:
    """Small files of every format, made by hand."""
    return PROJECT / "tests" / "data" / "feeds"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real traffic, which is not part of the project."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} with real traffic is not here")
    return folder


@pytest.fixture(scope="session")
def read_ids() -> Callable[..., list[str]]:
    """The ids of the events that a source holds, as the feed's own reader finds them."""

    def read(form: str, source: Path) -> list[str]:
        items = reader_of(form).read(str(source), ReadOptions())
        return [item.event_id for item in items if isinstance(item, NetworkSecurityEvent)]

    return read


class Etcd:
    """A real etcd on loopback; its ports stay the same over restarts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
            self._client, self._peer = (f"http://127.0.0.1:{s.getsockname()[1]}" for s in (one, two))
        self.url = f"etcd://{self._client.removeprefix('http://')}/appia-test"
        self.start()

    def start(self) -> None:
        command = [str(ETCD), "--data-dir", str(self._folder), "--logger", "zap", "--log-level", "error"]
        command += ["--listen-client-urls", self._client, "--advertise-client-urls", self._client]
        command += ["--listen-peer-urls", self._peer, "--initial-advertise-peer-urls", self._peer]
        command += ["--initial-cluster", f"default={self._peer}"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("etcd is healthy", self._is_healthy)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._client}/health", timeout=1) as answer:  # noqa: S310 - http
                return bool(json.load(answer)["health"] == "true")
        except OSError:
            return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    if not ETCD.exists():
        pytest.skip(f"{ETCD} is not installed (Debian package etcd-server)")
    server = Etcd(tmp_path_factory.mktemp("etcd") / "data")
    yield server
    server.kill()
