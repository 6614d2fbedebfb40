"""What all benchmarks share: their options, facts about the machine, percentiles, and how results are written."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROOT = Path(__file__).parents[1]
WEEK = ROOT.parent / "shared" / "data" / "cicids2017" / "cicids2017-week.csv.gz"
SAMPLE = ROOT / "samples" / "office-day.csv.gz"
WORK = ROOT / ".appia" / "bench"
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("appia", "faiss-cpu", "numpy", "onnxruntime", "protobuf", "pyzmq", "cryptography")


class BenchError(Exception):
    """A benchmark cannot go on; the message says why and what to do."""


@dataclass
class Report:
    """What a benchmark found: `settings` it ran with, `figures` for programs, and a line for people on each."""

    name: str
    settings: dict[str, Any]
    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)

    def add(self, key: str, figure: Any, line: str) -> None:
        """Take in a figure, and print its line at once."""
        self.figures[key] = figure
        self.note(line)

    def note(self, line: str) -> None:
        """Take in a line without a figure, and print it."""
        self.lines.append(line)
        print(f"  {line}", flush=True)

    def add_table(self, title: str, lines: Iterable[str]) -> None:
        """Take in a table of Markdown, which stands behind the lines, and print it."""
        shown = [f"## {title}", "", *lines]
        self.tables += ["", *shown]
        print("\n".join(shown), flush=True)

    def write(self, out: Path) -> None:
        """Write `out` as JSON and a readable file of the same name beside it, ending in `.md`."""
        facts = machine_facts()
        command = " ".join(["python", _short(Path(sys.argv[0])), *map(_plain, sys.argv[1:])])
        result = {
            "bench": self.name,
            "command": command,
            "machine": facts,
            "settings": self.settings,
            "figures": self.figures,
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        settings = ", ".join(f"{key} {value}" for key, value in self.settings.items())
        machine = (
            f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB; Linux {facts['kernel']}; "
            f"Python {facts['python']}; "
            + ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
        )
        text = [f"# {self.name}", "", f"`{command}`", "", f"- {facts['date']}, commit {facts['commit']}"]
        text += [f"- {machine}", f"- {settings}", "", *(f"- {line}" for line in self.lines), *self.tables]
        out.with_suffix(".md").write_text("\n".join(text) + "\n", "utf-8")
        print(f"  written: {_short(out)} and .md", flush=True)


def options(name: str, description: str, events: int) -> argparse.ArgumentParser:
    """The options of every benchmark; `events` is the default of --events."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--events", type=int, default=events, metavar="N", help="events to work on")
    parser.add_argument("--input", type=Path, metavar="FILE", help="CICFlowMeter file of traffic")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help="where states are kept")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json", metavar="FILE")
    return parser


def given_data(name: str, description: str) -> argparse.Namespace:
    """The options of a benchmark over the data sets that are there: `models`, `sample_only` and `out`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--models", type=Path, metavar="DIR", help="model store; the user's by default")
    parser.add_argument("--sample-only", action="store_true", help="no other data than the project's own")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json", metavar="FILE")
    return parser.parse_args()


def traffic_file(given: Path | None) -> Path:
    """The file that was given, else the week of shared data, else the project's own sample.

    Raises:
        BenchError: there is no such file.
    """
    if given is not None:
        if not given.is_file():
            raise BenchError(f"there is no file {given}")
        return given
    if WEEK.is_file():
        return WEEK
    print(f"  {WEEK.name} is not there: {SAMPLE.name} is used, whose figures compare with its own only")
    return SAMPLE


def machine_facts() -> dict[str, Any]:
    """Processor, memory, kernel, Python, packages, time and commit."""
    memory_kb = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal:"))
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if "model name" in line]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kb / 2**20, 1),
        "load_at_end": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8", "replace").splitlines()


def commit() -> str:
    """The commit that is checked out, and whether what is measured was changed since."""
    git = shutil.which("git")
    if git is None:
        return "unknown"

    def said(*words: str) -> str:
        return subprocess.run(
            [git, "-C", str(ROOT), *words], capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = said("status", "--porcelain", "--untracked-files=no", "--", "services", "models", "benchmarks")
    return (said("rev-parse", "--short=12", "HEAD") or "unknown") + (" with changes" if changed else "")


def _short(path: Path) -> str:
    """A path as seen from the project, so that results hold no folder of this machine."""
    found = path.resolve()
    return str(found.relative_to(ROOT)) if found.is_relative_to(ROOT) else found.name


def _plain(word: str) -> str:
    return _short(Path(word)) if word.startswith("/") else word


def percentiles(values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """p50, p90, p99, largest and number of some values."""
    if not values:
        return {"count": 0}
    points = np.percentile(values, (50, 90, 99))
    found = {name: round(float(p), digits) for name, p in zip(("p50", "p90", "p99"), points, strict=True)}
    return {**found, "max": round(max(values), digits), "count": len(values)}


def told(what: Mapping[str, float], unit: str = "ms") -> str:
    """Percentiles as a person reads them."""
    if not what["count"]:
        return "none"
    points = ", ".join(f"{name} {what[name]:g}" for name in ("p50", "p90", "p99", "max"))
    return f"{points} {unit} (n = {what['count']})"


def folder_bytes(folder: Path) -> int:
    """The bytes of all files below a folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
