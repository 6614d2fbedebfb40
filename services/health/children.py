"""Heavy work in processes of its own, one at a time: they come, print JSON lines, and go with the memory they took.

A child that may take hours is stopped (SIGSTOP) while another one has its turn, and goes on afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

_READ = 1 << 16
_LONGEST_LINE = 1 << 20
_TEXT = 300
_END_S = 5.0
SILENT_S = 900.0
"""A child that said nothing for so long hangs, on a file that is none or a disk that fails, and is ended."""


@dataclass(frozen=True)
class Task:
    """What a child is for.

    Attributes:
        name: there is one of a name at a time, waiting or at work.
        module: what it runs, as `python -m` takes it, with `words` after it.
        line: takes each JSON object that it prints.
        ended: takes whether it ended with status 0.
        patient: whether it lets others go first, also when it has begun.
    """

    name: str
    module: str
    words: Sequence[str]
    line: Callable[[Mapping[str, Any]], None]
    ended: Callable[[bool], None]
    patient: bool = False


@dataclass
class _Child:
    task: Task
    process: subprocess.Popen[bytes]
    heard_s: float
    heard: bytes = b""
    stopped: bool = False

    @property
    def pipe(self) -> int:
        """What it prints comes out here."""
        assert self.process.stdout is not None  # noqa: S101 - asked for at its start
        return self.process.stdout.fileno()


@dataclass
class Children:
    """Starts children and hears them. For one thread; nothing blocks but `stop`, for seconds at most."""

    log: FilteringBoundLogger
    monotonic: Callable[[], float] = time.monotonic
    _waiting: deque[Task] = field(default_factory=deque)
    _child: _Child | None = None
    _patient: _Child | None = None

    def ask(self, task: Task) -> None:
        """Have something done when it is its turn; nothing where it waits or is done already."""
        if task.name not in self.names:
            self._waiting.append(task)

    @property
    def names(self) -> set[str]:
        """The tasks that wait or are at work."""
        working = [child.task.name for child in (self._child, self._patient) if child is not None]
        return {*working, *(task.name for task in self._waiting)}

    @property
    def awaited(self) -> set[str]:
        """Those of them that somebody waits for: the others are patient."""
        patient = {task.name for task in self._waiting if task.patient}
        return self.names - patient - ({self._patient.task.name} if self._patient is not None else set())

    def step(self) -> None:
        """Hear what was said, and let the next one begin where it is its turn."""
        self._child = self._heard(self._child)
        self._patient = self._heard(self._patient)
        if self._child is not None:
            return
        quick = next((task for task in self._waiting if not task.patient), None)
        if quick is not None:
            self._send(self._patient, signal.SIGSTOP, stopped=True)
            self._waiting.remove(quick)
            self._child = self._start(quick)
        elif self._patient is not None:
            self._send(self._patient, signal.SIGCONT, stopped=False)
        elif self._waiting:
            self._patient = self._start(self._waiting.popleft())

    def stop(self) -> None:
        """End all children; nothing of theirs is heard any more."""
        self._waiting.clear()
        for child in (self._child, self._patient):
            if child is not None:
                child.process.kill()
                child.process.wait(_END_S)
                _close(child)
        self._child = self._patient = None

    def _start(self, task: Task) -> _Child | None:
        launched = (sys.executable, "-P", "-m", "services.common.launcher", str(os.getpid()))
        try:
            process = subprocess.Popen(
                [*launched, task.module, *task.words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            )
        except OSError as error:
            self.log.warning("child_not_started", task=task.name, error=str(error))
            task.ended(False)  # noqa: FBT003 - what it takes
            return None
        child = _Child(task, process, self.monotonic())
        os.set_blocking(child.pipe, False)
        return child

    def _heard(self, child: _Child | None) -> _Child | None:
        """The child after it was heard; None when it has ended."""
        if child is None:
            return None
        status = child.process.poll()  # before the last reading, so that nothing it said is missed
        while True:
            with suppress(BlockingIOError):
                piece = os.read(child.pipe, _READ)
                if piece:
                    self._take(child, piece)
                    continue
            break
        if status is None:
            self._end_if_silent(child)
            return child
        _close(child)
        if status:
            self.log.warning("child_failed", task=child.task.name, status=status)
        child.task.ended(status == 0)
        return None

    def _end_if_silent(self, child: _Child) -> None:
        """What it was for has failed then; the next one has its turn."""
        if not child.stopped and self.monotonic() - child.heard_s > SILENT_S:
            self.log.warning("child_silent", task=child.task.name)
            child.process.kill()

    def _take(self, child: _Child, piece: bytes) -> None:
        child.heard_s = self.monotonic()
        *lines, child.heard = (child.heard + piece).split(b"\n")
        child.heard = child.heard[-_LONGEST_LINE:]
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if not isinstance(said, dict):
                continue
            if "error" in said:
                self.log.warning("child_said", task=child.task.name, error=str(said["error"])[:_TEXT])
            child.task.line(said)

    def _send(self, child: _Child | None, number: signal.Signals, *, stopped: bool) -> None:
        if child is not None and child.stopped is not stopped:
            child.process.send_signal(number)
            child.stopped = stopped
            child.heard_s = self.monotonic()


def _close(child: _Child) -> None:
    if child.process.stdout is not None:
        child.process.stdout.close()
