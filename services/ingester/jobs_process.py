"""Runs the sealer process for jobs, one at a time, and follows the lines that it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Protocol

from services.common.days.policies import tell_policies
from services.common.errors import AppiaError
from services.ingester.jobs import BrokenOff

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.ingester.jobs import Job
    from services.ingester.settings import IngesterSettings


class Worker(Protocol):
    """What does the heavy part of a job."""

    def run(self, job: Job, *what: str) -> None:
        """Do `what` of the sealer's options to the day of `job`; blocks, and leaves step and report in the job.

        Raises:
            BrokenOff: `give_way` was called meanwhile.
            AppiaError: it could not be done, or `stop` was called.
        """

    def give_way(self) -> None:
        """Break off what is being done; nothing of it is published. For any thread."""

    def stop(self) -> None:
        """Break off what is being done, and whatever is asked for from now on. For any thread."""

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""


class SealerProcess:
    """A process of its own for each piece of work, which ends with this one."""

    def __init__(self, state: Path, settings: Callable[[], IngesterSettings]) -> None:
        """Start nothing yet; `settings` gives those in use."""
        self._state, self._settings = state, settings
        self._lock = threading.Lock()  # guards what follows
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self._gives_way = False  # what is being done now

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def run(self, job: Job, *what: str) -> None:
        """Run the sealer with the options `what`; see `Worker`."""
        error = ""
        with self._start(job.day, what) as process:
            for line in process.stdout or ():
                error = _follow(job, line) or error
        self._process = None
        if error:
            raise AppiaError(error)
        if job.report is None and process.returncode != 0:
            if self._gives_way and not self._stopped:
                raise BrokenOff(f"{job.job} gives way.")
            raise AppiaError(
                f"The sealer of {job.day} ended with status {process.returncode} without a word."
            )

    def give_way(self) -> None:
        """End the process that runs."""
        with self._lock:
            self._gives_way = True
            process = self._process
        if process is not None:
            process.terminate()

    def stop(self) -> None:
        """End the process that runs; one that is to be started later is refused."""
        with self._lock:
            self._stopped = True
            process = self._process
        if process is not None:
            process.terminate()

    def _start(self, day: str, what: tuple[str, ...]) -> subprocess.Popen[str]:
        command = [*_sealer_command(self._state, self._settings(), day), *what]
        with self._lock:
            if self._stopped:
                raise AppiaError("The ingester is being stopped.")
            self._gives_way = False
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            return self._process


def _sealer_command(state: Path, settings: IngesterSettings, day: str) -> list[str]:
    """What starts a sealer that ends with this process."""
    given = {
        "--state": state,
        "--day": day,
        "--keys": settings.keys,
        "--compression": settings.compression,
        "--policies": tell_policies(settings.policies),
        "--threads": settings.model_threads,
        "--semantic-model": settings.semantic_model,
        "--temporal-model": settings.temporal_model,
        "--storage-key": settings.storage_key,
    }
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    if settings.require_encryption:
        options.append("--require-encryption")
    launched = (sys.executable, "-P", "-m", "services.common.launcher", str(os.getpid()))
    return [*launched, "services.ingester.sealer", *options]


def _follow(job: Job, line: str) -> str:
    """Put what a line says into the job; gives the error that it tells."""
    try:
        said = json.loads(line)
    except ValueError:
        return ""
    if "step" in said:
        job.step, job.done, job.total = said["step"], said["done"], said["total"]
    job.report = said.get("report", job.report)
    return str(said.get("error", ""))
