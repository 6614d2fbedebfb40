"""How full the file systems are, how that grows, and when they will be full at that rate."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from services.health.observation import Disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

SAMPLE_S = 1800.0
SAMPLES = 336
"""A sample each half hour over a week: that of a working day and of a weekend are in it."""
WINDOWS_S = (21_600.0, 86_400.0, SAMPLES * SAMPLE_S)
"""Growth is seen over six hours, a day and a week: what just began shows in the first, what is usual in the last."""
LEAST_SAMPLES = 6
"""Fewer say nothing about growth: it takes more than two hours to tell a burst from what goes on."""
FORESIGHT = 4.0
"""So many times as far ahead as was looked back; a whole week may say everything, as it has each kind of day."""
_MOST_POINTS = 49
"""Of a window, spread evenly: 1,176 pairs take less than a millisecond."""
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
    seen = forecast([*samples, (now_ns, total - free)], free)
    return Disk(
        path=str(folder),
        total_bytes=total,
        free_bytes=free,
        used_percent=_percent(total - free, total),
        inode_used_percent=_percent(found.f_files - found.f_ffree, found.f_files),
        grows_bytes_per_s=seen.grows_bytes_per_s,
        days_left=seen.days_left,
    )


@dataclass(frozen=True)
class Forecast:
    """How a file system grows, and when it is full; None for what cannot be told, or never comes."""

    grows_bytes_per_s: float | None = None
    days_left: float | None = None


def forecast(samples: Sequence[Sample], free: int) -> Forecast:
    """By the window that says that it is full soonest; where none does within its foresight, the longest one's growth.

    Args:
        samples: the newest last, which is of now.
        free: bytes.
    """
    found = Forecast()
    for window_s in WINDOWS_S:
        since_ns = samples[-1][0] - window_s * _NS
        seen = [sample for sample in samples if sample[0] >= since_ns]
        grows = growth(seen)
        if grows is None:
            continue
        if window_s < WINDOWS_S[-1]:
            before = [used for time_ns, used in samples if time_ns < since_ns]
            grows = min(grows, _rises(samples[-1][1], before, window_s))
        days = _days_left(seen, grows, free)
        if found.days_left is None or (days is not None and days < found.days_left):
            found = Forecast(grows, days)
    return found


def _rises(used: int, before: Sequence[int], window_s: float) -> float:
    """Bytes a second by which it rose in the window above all before; without end where nothing was before.

    Who drops the oldest day each night fills that room again by day: the slopes of hours alone would call that growth.
    """
    return (used - max(before)) / window_s if before else math.inf


def _days_left(samples: Sequence[Sample], grows: float, free: int) -> float | None:
    """Until it is full; None where that is never, or further ahead than these samples may be believed."""
    if grows <= 0:
        return None
    left_s, span_s = free / grows, (samples[-1][0] - samples[0][0]) / _NS
    is_a_week = span_s >= WINDOWS_S[-1] - 2 * SAMPLE_S
    return left_s / _A_DAY_S if is_a_week or left_s <= FORESIGHT * span_s else None


def growth(samples: Sequence[Sample]) -> float | None:
    """Bytes a second: the median of the slopes between all pairs (Theil 1950, Sen 1968); None of too few samples.

    A copy that was made once, or a day that was dropped, moves it hardly, unlike a regression by least squares.
    """
    step = -(-len(samples) // _MOST_POINTS)
    points = samples[::-step][::-1] if step else ()
    if len(points) < LEAST_SAMPLES:
        return None
    slopes = sorted(
        (later[1] - sooner[1]) * _NS / (later[0] - sooner[0])
        for sooner, later in combinations(points, 2)
        if later[0] > sooner[0]
    )
    middle = len(slopes) // 2
    return (slopes[middle] + slopes[~middle]) / 2 if slopes else None


def with_sample(samples: Sequence[Sample], now_ns: int, used: int) -> list[Sample]:
    """The samples with one more where it is time for it; those from after `now_ns` are of a clock that was wrong."""
    kept = [sample for sample in samples if sample[0] <= now_ns]
    if not kept or now_ns - kept[-1][0] >= SAMPLE_S * _NS:
        kept.append((now_ns, used))
    return kept[-SAMPLES:]


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0
