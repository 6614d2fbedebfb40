"""One service run as a child process: its start, its one line that says it is ready, its end and its log."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOG_LIMIT = 16 << 20
LAST_WORDS = 4096
READY_LIMIT = 64 * 1024
_PROGRAM = re.compile(r"^appia-[a-z]+: ")


@dataclass(frozen=True)
class Service:
    """What to run: `python -m module --settings settings`, standard error going to the end of `log`."""

    name: str
    module: str
    settings: Path
    log: Path


class Child:
    """One run of a service, started by the constructor. Use it from the main thread only.

    The system ends a child when the thread that started it ends, not only when the process does.
    """

    def __init__(self, service: Service, environment: Mapping[str, str]) -> None:
        """Start it; `environment` is added to that of this process."""
        self.service = service
        self.ready: dict[str, Any] | None = None
        self._heard = b""
        _keep_log_short(service.log)
        command = [sys.executable, "-P", "-m", "services.common.launcher", str(os.getpid()), service.module]
        with service.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--settings", str(service.settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **environment},
                process_group=0,  # Ctrl-C is for the supervisor, which stops its children in order
            )
        os.set_blocking(self._stdout, False)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def _stdout(self) -> int:
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101 - asked for above
        return pipe.fileno()

    def listen(self) -> bool:
        """Read what it has said; True when that made it ready. Does not block."""
        try:
            chunk = os.read(self._stdout, READY_LIMIT)
        except BlockingIOError:
            return False
        if self.ready is not None:
            return False
        self._heard = (self._heard + chunk)[:READY_LIMIT]
        *lines, _ = self._heard.split(b"\n")
        self.ready = next(filter(None, map(_ready_line, lines)), None)
        return self.ready is not None

    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it has ended."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        """Block until it has ended, at most `timeout_s`; False when it has not."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Close the pipe of a child that has ended."""
        if self._process.stdout is not None:
            self._process.stdout.close()

    def last_words(self) -> str:
        """The last line of its log, without the name that a program puts before its own sentence."""
        with self.service.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - LAST_WORDS))
            lines = [line for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return _PROGRAM.sub("", lines[-1].strip()) if lines else "it said nothing"


def describe_end(status: int) -> str:
    """How a child ended, in words."""
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _ready_line(line: bytes) -> dict[str, Any] | None:
    try:
        facts = json.loads(line)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) and facts.get("ready") is True else None


def _keep_log_short(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
