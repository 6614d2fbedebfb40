"""One slice of a suite in a process of its own: what crashes there is a fault of that slice and ends no other."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torture.suite import Budget, Fault, Outcome

if TYPE_CHECKING:
    from torture.suite import Suite

PATIENCE_S = 600.0
_MEMORY = Path("/dev/shm")  # noqa: S108 - scratch of this process, in a folder of its own


@dataclass(frozen=True)
class Slice:
    """Which rounds of a suite, and for how long."""

    suite: str
    seed: int
    first: int
    rounds: int
    seconds: float
    is_fault_enough: bool = False


def run_here(suite: Suite, part: Slice, until: float) -> Outcome:
    """Do the rounds in this process, in a folder of their own."""
    with tempfile.TemporaryDirectory(
        prefix=f"appia-{suite.name}-", dir=_MEMORY if _MEMORY.is_dir() else None
    ) as folder:
        return suite.run(
            Budget(part.seed, Path(folder), part.rounds, part.first, until, part.is_fault_enough)
        )


def run_apart(part: Slice) -> Outcome:
    """Do the rounds in a new process and wait for it; blocks. A process that dies or hangs is a fault."""
    command = [sys.executable, "-m", "torture", part.suite, "--seed", str(part.seed), "--slice"]
    command += ["--first", str(part.first), "--rounds", str(part.rounds), "--seconds", str(part.seconds)]
    outcome = Outcome()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=part.seconds + PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        outcome.fault(part.first, f"no round came to an end within {PATIENCE_S:g} s")
        return outcome
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        outcome.fault(part.first, f"the process ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
        return outcome
    return _read(json.loads(lines[-1]))


def to_line(outcome: Outcome) -> str:
    """The outcome as the one line that `run_apart` reads."""
    return json.dumps(asdict(outcome))


def _read(raw: dict[str, object]) -> Outcome:
    faults = [Fault(**one) for one in raw.pop("faults")]  # type: ignore[arg-type,attr-defined]
    return Outcome(faults=faults, **raw)  # type: ignore[arg-type]
