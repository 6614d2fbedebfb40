"""What the machine has, as far as processes here may use it: cores, memory, temperature, and what disk holds the state.

Read from the files of Linux: proc(5), cgroups(7) of both versions, the kernel's sysfs of thermal zones, hardware
monitors and block devices. What a machine does not tell is left out and nothing is made up for it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.control_groups import cpu_cores, memory_limit, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB = 1024
PROCESSOR = re.compile(r"cpu|core|pkg|k10|zen|soc", re.IGNORECASE)
"""In names of temperature sensors that are of the processor; others are of radios, disks and chargers."""
VIRTUAL = ("vd", "xvd")
"""Disks of virtual machines: their host seldom tells what is below."""
PLAUSIBLE_C = range(1, 150)
"""A sensor that is broken or switched off says 0, -274 or 255."""


class DiskKind(StrEnum):
    """What a disk costs per sync: a platter has to turn, a flash card erases whole blocks."""

    SOLID = "solid state"
    ROTATING = "rotating"
    CARD = "flash card"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Hardware:
    """What a machine has, and lets us use.

    Attributes:
        cores: processor time that may be used, in cores; a control group may allow parts of one.
        memory_bytes: the memory, or the least limit of the control groups.
        available_bytes: what can be had now without swapping, within that limit.
        temperature_c: the hottest sensor of the processor, degrees Celsius; None where there is none.
        disk: what the state directory lies on.
        disk_bytes: size of its file system.
        disk_free_bytes: what a user may still write there.
    """

    cores: float
    memory_bytes: int
    available_bytes: int
    temperature_c: float | None
    disk: DiskKind
    disk_bytes: int
    disk_free_bytes: int


def find_hardware(state: Path, root: Path = Path("/")) -> Hardware:
    """Look at this machine; `root` stands for `/`. Reads files of the kernel and blocks for nothing else."""
    memory = _meminfo(root)
    total, available = memory.get("MemTotal", 0), memory.get("MemAvailable", 0)
    limit = memory_limit(root)
    if limit is not None:
        total = min(total, limit.most_bytes)
        available = min(available, max(limit.most_bytes - limit.used_bytes, 0))
    quota = cpu_cores(root)
    mine = float(len(os.sched_getaffinity(0)))
    files = os.statvfs(state)
    return Hardware(
        cores=mine if quota is None else min(mine, quota),
        memory_bytes=total,
        available_bytes=available,
        temperature_c=hottest_c(root),
        disk=disk_kind(state, root),
        disk_bytes=files.f_blocks * files.f_frsize,
        disk_free_bytes=files.f_bavail * files.f_frsize,
    )


def hottest_c(root: Path) -> float | None:
    """The hottest sensor of the processor, else of the machine, in degrees Celsius; None where there is none."""
    sensors = list(_sensors(root / "sys"))
    of_processor = [celsius for name, celsius in sensors if PROCESSOR.search(name)]
    return max(of_processor or [celsius for _, celsius in sensors], default=None)


def disk_kind(path: Path, root: Path) -> DiskKind:
    """The kind of the disk that a path lies on, as the kernel tells it; the worst one where it lies on several."""
    device = _device_of(path.resolve(), root)
    if device is None:
        return DiskKind.UNKNOWN
    kinds = set(_kinds(root / "sys" / "class" / "block" / device))
    worst = (DiskKind.CARD, DiskKind.ROTATING, DiskKind.SOLID)
    return next((kind for kind in worst if kind in kinds), DiskKind.UNKNOWN)


def _meminfo(root: Path) -> dict[str, int]:
    """Lines such as `MemAvailable: 17 kB`, in bytes (proc_meminfo(5))."""
    found = {}
    for line in text_of(root / "proc" / "meminfo").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * KIB
    return found


def _sensors(sys: Path) -> Iterator[tuple[str, float]]:
    """Names and degrees of thermal zones, and of monitors of the processor; in files as thousandths of a degree."""
    for zone in sorted((sys / "class" / "thermal").glob("thermal_zone*")):
        yield from _sensor(text_of(zone / "type").strip(), zone / "temp")
    for monitor in sorted((sys / "class" / "hwmon").glob("hwmon*")):
        name = text_of(monitor / "name").strip()
        if PROCESSOR.search(name):
            for sensor in sorted(monitor.glob("temp*_input")):
                yield from _sensor(name, sensor)


def _sensor(name: str, file: Path) -> Iterator[tuple[str, float]]:
    text = text_of(file).strip()
    if re.fullmatch(r"-?\d{1,7}", text) and int(text) // 1000 in PLAUSIBLE_C:
        yield name, int(text) / 1000


def _device_of(path: Path, root: Path) -> str | None:
    """The name of the block device that is mounted at or above a path (proc_pid_mountinfo(5))."""
    found, longest = None, -1
    for line in text_of(root / "proc" / "self" / "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        mounted, source = before.split()[4:5], after.split()[1:2]
        if not mounted or not source:
            continue
        place = Path(_unescaped(mounted[0]))
        # Of two file systems mounted at one place the later one is seen.
        if len(place.parts) >= longest and path.is_relative_to(place):
            found, longest = source[0], len(place.parts)
    if found is None or not found.startswith("/dev/"):
        return None
    return (root / found.lstrip("/")).resolve().name


def _unescaped(text: str) -> str:
    """A path of mountinfo, which spells blanks as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _kinds(device: Path) -> Iterator[DiskKind]:
    """Of a disk, of the disk that a partition is on, or of those that a mapped device is made of."""
    below = sorted(device.glob("slaves/*"))
    if below:
        for one in below:
            yield from _kinds(device.parent / one.name)
        return
    real = device.resolve()
    whole = real if (real / "queue").is_dir() else real.parent
    if whole.name.startswith("mmcblk"):
        yield DiskKind.CARD
        return
    if whole.name.startswith(VIRTUAL):
        return
    told = text_of(whole / "queue" / "rotational").strip()
    if told in {"0", "1"}:
        yield DiskKind.ROTATING if told == "1" else DiskKind.SOLID
