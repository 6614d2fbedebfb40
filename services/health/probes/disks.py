"""How full the file systems are, how that grows, and when they will be full at that rate."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from services.health.observation import Disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

SAMPLE_S = 1800.0
SAMPLES = 336
"""A sample each half hour over a week: that of a working day and of a weekend are in it."""
LEAST_SAMPLES = 4
"""Before so many nothing is said about growth: the first hours after a start are not usual."""
_A_DAY_S = 86_400.0
_NS = 1e9

Sample = tuple[int, int]
"""A moment in nanoseconds since 1970, and the bytes that were used then."""


def file_systems(folders: Iterable[Path]) -> list[Path]:
    """The folders that are there, without those on the file system of one before."""
    found: dict[int, Path] = {}
    for folder in folders:
        try:
            found.setdefault(os.stat(folder).st_dev, folder)  # noqa: PTH116 - the device
        except OSError:
            continue
    return list(found.values())


def look_at_disk(folder: Path, samples: Sequence[Sample], now_ns: int) -> Disk:
    """The file system of a folder now, and its growth by the samples before. Raises OSError."""
    found = os.statvfs(folder)
    total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    grows = growth([*samples, (now_ns, total - free)])
    return Disk(
        path=str(folder),
        total_bytes=total,
        free_bytes=free,
        used_percent=_percent(total - free, total),
        inode_used_percent=_percent(found.f_files - found.f_ffree, found.f_files),
        grows_bytes_per_s=grows,
        days_left=free / grows / _A_DAY_S if grows is not None and grows > 0 else None,
    )


def growth(samples: Sequence[Sample]) -> float | None:
    """Bytes a second by linear regression (least squares) over samples; None where there are too few."""
    if len(samples) < LEAST_SAMPLES:
        return None
    times = [(time - samples[0][0]) / _NS for time, _ in samples]
    used = [float(bytes_) for _, bytes_ in samples]
    mean_time, mean_used = sum(times) / len(times), sum(used) / len(used)
    spread = sum((time - mean_time) ** 2 for time in times)
    if not spread:
        return None
    return (
        sum((time - mean_time) * (value - mean_used) for time, value in zip(times, used, strict=True))
        / spread
    )


def with_sample(samples: Sequence[Sample], now_ns: int, used: int) -> list[Sample]:
    """The samples with one more where it is time for it; those from after `now_ns` are of a clock that was wrong."""
    kept = [sample for sample in samples if sample[0] <= now_ns]
    if not kept or now_ns - kept[-1][0] >= SAMPLE_S * _NS:
        kept.append((now_ns, used))
    return kept[-SAMPLES:]


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0
