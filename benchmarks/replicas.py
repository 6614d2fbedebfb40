"""Runs replicas alone, without a stack around them: a sealed state needs nothing else to be asked."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.common import BenchError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STOP_S = 20.0
_IMPORTS = "import services.rag.main, sys; print(flush=True); sys.stdin.read()"
_OPENING = """
import sys, time
from pathlib import Path
from services.common.days.names import StateNames
from services.common.logs import make_logger
from services.rag.catalog import Catalog
catalog = Catalog(StateNames(Path(sys.argv[1])), make_logger("bench"))
started = time.perf_counter()
catalog.start()
catalog.wait_opened(600)
print(time.perf_counter() - started)
catalog.stop()
"""


@dataclass(frozen=True)
class Replica:
    """One that answers: where, its process, and how many seconds it took from its start until it was ready."""

    endpoint: str
    pid: int
    ready_s: float


@contextlib.contextmanager
def replica(state: Path, number: int) -> Iterator[Replica]:
    """A replica for as long as the block runs.

    Raises:
        BenchError: it did not start.
    """
    settings = state / "run" / f"bench-{number}.toml"
    values = {"state": str(state), "name": f"bench-{number}", "bind": "tcp://127.0.0.1:*"}
    settings.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()), "utf-8")
    words = [sys.executable, "-P", "-m", "services.rag.main", "--settings", str(settings)]
    started = time.perf_counter()
    with settings.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        yield _ready(process, started)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        settings.unlink()


def _ready(process: subprocess.Popen[str], started: float) -> Replica:
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said:
        raise BenchError("a replica did not start: see run/bench-*.log in the state directory")
    return Replica(json.loads(said)["endpoint"], process.pid, time.perf_counter() - started)


@contextlib.contextmanager
def only_imports() -> Iterator[int]:
    """The id of a process that has imported what a replica imports, and does nothing."""
    words = [sys.executable, "-P", "-c", _IMPORTS]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.communicate()


def opening_seconds(state: Path) -> float:
    """How long a fresh process takes to check and map all days, its imports left out."""
    words = [sys.executable, "-P", "-c", _OPENING, str(state)]
    return float(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
