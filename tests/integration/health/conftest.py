"""A real stack with a real health service, and a receiver for what it tells."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from services.cli.health_at import health_of
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ANSWER_S = 10.0
_RULES = {
    "disk_used_percent": "above = 85\nresolve = 84",
    "service_down": "above = 0",
    "service_restarts": "above = 0\nseverity = 'info'",
    "intake_paused": "above = 0",
    "sensor_silent_s": "above = 4",
    "clock_offset_s": "above = 1",
    "etcd_down": "above = 0",
    "config_refused": "above = 0",
    "index_missing": "above = 0",
    "index_corrupt": "above = 0",
    "index_stale": "above = 0",
    "day_inconsistent": "above = 0",
    "repair_failed": "above = 0",
}
"""A rule for each signal that could be wrong here, without the patience that is right in production."""


class Hook:
    """Takes the messages of alerts over HTTP; may be down and come back at the same port."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.port = 0
        self.start()

    def start(self) -> None:
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            timeout = 20

            def do_POST(self) -> None:
                got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = False
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def titles(self) -> list[str]:
        return [str(message.get("title", "")) for message in self.got]


class Watched:
    """A stack, and what its health says."""

    def __init__(self, stack: Any, hook: Hook, eventually: Callable[..., None]) -> None:
        self.stack, self.hook, self._eventually = stack, hook, eventually
        self.began_ns = time.time_ns()

    @property
    def state(self) -> Path:
        return self.stack.names.root  # type: ignore[no-any-return]

    def ask(self, op: str, **args: Any) -> dict[str, Any]:
        """Ask health, which may be starting again just now."""
        until = time.monotonic() + 30
        while True:
            try:
                with health_of(self.state) as health:
                    return dict(health.call(op, args, ANSWER_S))
            except AppiaError:
                assert time.monotonic() < until
                time.sleep(0.1)

    def fleet(self) -> dict[str, Any]:
        return self.ask("fleet")

    def service(self, name: str) -> dict[str, Any]:
        """What health knows of a service; an empty one where it knows none of the name."""
        found = [one for one in self.fleet()["services"] if f"{one['kind']}/{one['name']}" == name]
        return dict(found[0]) if found else {}

    def alerts(self) -> set[tuple[str, str]]:
        """Rule and subject of what fires now."""
        return {(one["rule"], one["subject"]) for one in self.ask("alerts")["firing"]}

    def fired(self) -> set[tuple[str, str]]:
        """All that fired since the test began, what is over too."""
        said = self.ask("alerts")
        every = [*said["firing"], *said["ending"], *said["recent"]]
        return {(one["rule"], one["subject"]) for one in every if one["fired_ns"] >= self.began_ns}

    def fires(self, rule: str, subject: str) -> None:
        self._eventually(f"{rule} of {subject} fires", lambda: (rule, subject) in self.fired())

    def is_well(self) -> None:
        """Wait until nothing fires; a process that was started anew is told for a day and is no fault."""
        quiet = {"service_restarts"}
        self._eventually("nothing fires", lambda: not {one for one in self.alerts() if one[0] not in quiet})

    def health_pid(self) -> int:
        return int(self.ask("ping")["pid"])

    def kill_health(self) -> None:
        """Kill it, and wait until another one has looked."""
        pid = self.health_pid()
        os.kill(pid, signal.SIGKILL)
        self._eventually("health is back", lambda: self.health_pid() != pid)

    def begin(self) -> None:
        """From here on alerts are counted."""
        self.is_well()
        self.began_ns = time.time_ns()


def rules(port: int) -> str:
    """A file of rules that has no patience, and tells the receiver at a port."""
    written = [
        f'[[rule]]\nname = "{signal_}"\nsignal = "{signal_}"\nrepeat = "0s"\n{limits}\n'
        for signal_, limits in _RULES.items()
    ]
    head = ["defaults = false", '[group]\nby = ["rule"]\nwait = "1s"']
    return "\n".join([*head, f'[channel.hook]\nurl = "json://127.0.0.1:{port}/"', *written])


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    receiver = Hook()
    yield receiver
    receiver.stop()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, hook: Hook) -> Callable[..., str]:
    """Write a settings file for `appia up`: a health that looks every second, and what is given for services."""

    def write(health: str = "", ingester: str = "") -> str:
        folder = tmp_path_factory.mktemp("settings")
        (folder / "alerts.toml").write_text(rules(hook.port))
        lines = ["[health]", f'alerts = "{folder / "alerts.toml"}"', "interval_s = 1", "check_every_s = 2"]
        lines += ["repair_every_attack_s = 3", "sensor_silent_s = 3", "audit_every_s = 0"]
        text = "\n".join([*lines, health, "[ingester]", ingester, "[rag]", ""])
        (folder / "up.toml").write_text(text)
        return str(folder / "up.toml")

    return write


@pytest.fixture(scope="module")
def start_watched(  # noqa: PLR0917 - fixtures
    start_stack: Callable[..., Any],
    settings: Callable[..., str],
    hook: Hook,
    eventually: Callable[..., None],
    end_of: Callable[[Any], Any],
    sample: Path,
) -> Callable[..., Watched]:
    """Start a stack and wait until its health has looked; `fed` gives it a sealed day."""

    def start(state: Path | None = None, *options: str, fed: bool = False, **overrides: str) -> Watched:
        file = settings(**overrides)
        stack = start_stack("--settings", file, "--watchdog", "4", *options, state=state)
        if fed:
            end_of(stack.feed("--format", "cicflowmeter", "--limit", "400", str(sample)))
            for day in stack.names.days():
                stack.appia("seal", day)
        found = Watched(stack, hook, eventually)
        days = len(stack.names.days())
        eventually("everybody answers", lambda: all(one["answers"] for one in found.fleet()["services"]))
        eventually(
            "the days are looked at",
            lambda: sum(day["sealed"] for day in found.fleet()["days"] or ()) == days,
        )
        return found

    return start


@pytest.fixture(scope="module")
def watched(start_watched: Callable[..., Watched]) -> Watched:
    """A stack with a sealed day."""
    return start_watched(fed=True, ingester="config_within_s = 3.0")


@pytest.fixture
def well(watched: Watched) -> Watched:
    """The same while nothing is wrong."""
    watched.begin()
    return watched


@pytest.fixture
def closing() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack
