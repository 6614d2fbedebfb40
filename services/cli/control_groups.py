"""What the control groups of this process let it use: cgroups(7), version 2 (`cpu.max`, `memory.max`) and version 1.

A limit counts wherever it stands between the group of the process and the top that can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NO_LIMIT = 1 << 60
"""Version 1 tells a number of pages that no machine has where there is no limit."""


@dataclass(frozen=True)
class MemoryLimit:
    """The tightest limit: the bytes allowed, and those in use beside file contents that can be dropped at once."""

    most_bytes: int
    used_bytes: int


def cpu_cores(root: Path) -> float | None:
    """How many cores' worth of time the groups allow; None where they set no limit."""
    quotas = [
        quota / period
        for folder in _folders(root, "cpu")
        for quota, period in (_cpu_max(folder), _cpu_quota(folder))
        if quota > 0 and period > 0
    ]
    return min(quotas, default=None)


def memory_limit(root: Path) -> MemoryLimit | None:
    """The limit that leaves the least; None where the groups set none."""
    limits = [limit for folder in _folders(root, "memory") for limit in _memory(folder)]
    return min(limits, key=lambda limit: limit.most_bytes - limit.used_bytes, default=None)


def _cpu_max(folder: Path) -> tuple[int, int]:
    quota, period, *_ = [*_words(folder / "cpu.max"), "", ""]
    return _number(quota), _number(period)


def _cpu_quota(folder: Path) -> tuple[int, int]:
    return _first(folder / "cpu.cfs_quota_us"), _first(folder / "cpu.cfs_period_us")


def _memory(folder: Path) -> Iterator[MemoryLimit]:
    for limit, used, dropped in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most = _first(folder / limit)
        if 0 < most < NO_LIMIT:
            in_use = max(_first(folder / used), 0) - _stat(folder, dropped)
            yield MemoryLimit(most, max(in_use, 0))


def _stat(folder: Path, name: str) -> int:
    words = _words(folder / "memory.stat")
    return max(_number(words[words.index(name) + 1]), 0) if name in words[:-1] else 0


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The folder of the own group and of each above it, in both versions."""
    paths = dict(_own_groups(root))
    for kind, options, inside, place in _mounted(root):
        if kind == "cgroup2":
            path = paths.get("")
        elif controller in options:
            path = paths.get(controller)
        else:
            path = None
        if path is None:
            continue
        # In a container the mounted part may begin at the container's own group.
        own = path.removeprefix(inside.rstrip("/")).strip("/").split("/")
        for depth in range(len(own), -1, -1):
            yield (root / place.lstrip("/")).joinpath(*own[:depth])


def _own_groups(root: Path) -> Iterator[tuple[str, str]]:
    """Controller and path of each line of /proc/self/cgroup; version 2 has an empty name."""
    for line in text_of(root / "proc" / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            yield controller, path


def _mounted(root: Path) -> Iterator[tuple[str, list[str], str, str]]:
    """Kind, options, the part that is mounted, and where, of each file system of groups (proc_pid_mountinfo(5))."""
    for line in text_of(root / "proc" / "self" / "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        where, what = before.split(), after.split()
        if len(where) > 4 and len(what) > 2 and what[0] in {"cgroup", "cgroup2"}:
            yield what[0], what[2].split(","), where[3], where[4]


def _words(path: Path) -> list[str]:
    return text_of(path).split()


def _first(path: Path) -> int:
    return _number(next(iter(_words(path)), ""))


def _number(word: str) -> int:
    """A whole number; -1 for anything else, such as `max`."""
    return int(word) if word.isdigit() else -1


def text_of(path: Path) -> str:
    """A file of the kernel; empty where there is none, or it cannot be read now."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
