"""Reads memory and processor time of running processes from /proc (proc(5))."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
_GONE = (FileNotFoundError, ProcessLookupError)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, with that of children it has waited for."""
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return sum(map(int, fields[11:15])) / TICKS


def own_seconds(pid: int) -> float:
    """User and system time of a process so far, without that of its children."""
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return sum(map(int, fields[11:13])) / TICKS


def thread_seconds(pid: int) -> dict[str, float]:
    """Processor time by thread name, the busiest first; a number at the end of a name is left out."""
    found: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            fields = _stat(task / "stat")
            name = (task / "comm").read_text().strip().rstrip("0123456789").rstrip("-_/")
        except _GONE:
            continue
        found[name] += sum(map(int, fields[11:13]))
    return {name: ticks / TICKS for name, ticks in found.most_common()}


def _stat(path: Path) -> list[str]:
    """The fields of a stat file from the third (state) on: utime is the 12th of them, see proc(5)."""
    return path.read_text().rpartition(")")[2].split()


def status_bytes(pid: int, key: str) -> int:
    """A figure of /proc/PID/status in bytes, such as VmRSS, RssAnon or VmHWM; 0 when the process has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except _GONE:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except _GONE:
            continue
    return found


def shares(pid: int) -> dict[str, float]:
    """Memory of a process in MiB: rss, pss, uss (its own pages), anonymous (of them what is no file)."""
    wanted: Counter[str] = Counter()
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, value, *_ = line.split()
        wanted[key.rstrip(":")] = int(value)
    own = wanted["Private_Clean"] + wanted["Private_Dirty"]
    kib = {"rss": wanted["Rss"], "pss": wanted["Pss"], "uss": own, "anonymous": wanted["Anonymous"]}
    return {name: round(value / 1024, 1) for name, value in kib.items()}


class MemoryWatch:
    """Samples the resident memory of a process, and the peak of its children, while the block runs."""

    def __init__(self, pid: int, every_s: float = 1.0) -> None:
        """Begin when the block is entered."""
        self.seconds: list[float] = []
        self.resident: list[int] = []
        self.child_peak = 0  # bytes, VmHWM of the largest child
        self.child_anonymous_peak = 0  # bytes, RssAnon of the largest child when it was looked at
        self._pid = pid
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        while True:
            self.seconds.append(time.monotonic() - started)
            self.resident.append(status_bytes(self._pid, "VmRSS"))
            below = children(self._pid)
            self.child_peak = max([self.child_peak, *(status_bytes(child, "VmHWM") for child in below)])
            self.child_anonymous_peak = max(
                [self.child_anonymous_peak, *(status_bytes(child, "RssAnon") for child in below)]
            )
            if self._stop.wait(self._every_s):
                return

    def slope(self) -> float:
        """Growth of the resident memory over the second half of the samples, MiB a minute."""
        half = len(self.seconds) // 2
        return slope(self.seconds[half:], self.resident[half:])


def slope(seconds: Sequence[float], sizes: Sequence[int]) -> float:
    """The rise of the line through some sizes (least squares), MiB a minute; 0 for less than three."""
    if len(seconds) < 3:
        return 0.0
    return float(np.polyfit(seconds, sizes, 1)[0]) * 60 / MIB
