"""Runs the command as a user does, in a process of its own, and makes small services for the supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from services.cli.child import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Appia = Callable[..., subprocess.CompletedProcess[str]]

TOY = """
import json, os, pathlib, signal, sys, threading
settings = pathlib.Path(sys.argv[2])
log, mode = settings.read_text().split()
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: None if mode == "deaf" else stop.set())
if mode == "broken":
    sys.exit("toy: it is broken")
print(json.dumps({"ready": True, "service": "toy", "pid": os.getpid()}), flush=True)
if mode == "brief":
    sys.exit(3)
stop.wait()
with open(log, "a") as file:
    file.write(settings.stem + "\\n")
"""


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
