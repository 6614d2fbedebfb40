"""How unusual each hour of a host is among its hours before, in robust sigmas.

Counts are made comparable by 2 sqrt(x + 3/8), which turns the spread of a Poisson process into 1 whatever its rate
(Anscombe, Biometrika 35, 1948); bytes by log2(1 + x). A sigma is 1.4826 times the median absolute deviation of the
hours before, which is that of a normal distribution and does not move with some wild hours among them (Hampel, JASA
69, 1974), and at least 1: what chance alone does, and for bytes a factor of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.rag.timeline.hours import HOURS_A_DAY, MEASURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOURS_BEFORE, LEAST_HOURS = 168, 12
"""An hour is compared with the last so many hours in which the host was active, if there were at least so many."""
DAYS_BEFORE, LEAST_DAYS = 28, 4
"""... and with the same hour of its last days, if there were at least so many: a nightly backup is usual at night."""

_MAD_TO_SIGMA = 1.4826
_BYTES = MEASURES.index("bytes")
_BLOCK = 256


@dataclass(frozen=True)
class Unusual:
    """For each of h hours and each measure: sigmas above what is usual, and what is usual; (h, len(MEASURES)).

    Sigmas are 0 where there were too few hours before.
    """

    sigmas: NDArray[np.float64]
    usual: NDArray[np.float64]


def unusual(numbers: NDArray[np.int64], measures: NDArray[np.float64]) -> Unusual:
    """Compare each hour with those before; what is unusual must be so among the last hours and at that time of day.

    Args:
        numbers: (h,) hours since 1970, ascending.
        measures: (h, len(MEASURES)).
    """
    values = 2 * np.sqrt(measures + 0.375)
    values[:, _BYTES] = np.log2(1 + measures[:, _BYTES])
    sigmas, medians = _against_before(values, HOURS_BEFORE, LEAST_HOURS)
    for hour in range(HOURS_A_DAY):
        same = np.flatnonzero(numbers % HOURS_A_DAY == hour)
        daily, usual = _against_before(values[same], DAYS_BEFORE, LEAST_DAYS)
        known = np.arange(len(same)) >= LEAST_DAYS
        same, daily, usual = same[known], daily[known], usual[known]
        nearer = (np.abs(daily) < np.abs(sigmas[same])) | (daily * sigmas[same] < 0)
        opposed = daily * sigmas[same] < 0
        sigmas[same] = np.where(opposed, 0, np.where(nearer, daily, sigmas[same]))
        medians[same] = np.where(nearer, usual, medians[same])
    found = np.maximum((medians / 2) ** 2 - 0.375, 0)
    found[:, _BYTES] = np.exp2(medians[:, _BYTES]) - 1
    return Unusual(sigmas, found)


def _against_before(
    values: NDArray[np.float64], window: int, least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sigmas of each row (h, m) above the median of up to `window` rows before it, and that median; 0 with too few."""
    sigmas, medians = np.zeros_like(values), np.zeros_like(values)
    padded = np.concatenate([np.full((window, values.shape[1]), np.nan), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, window, axis=0)  # (h + 1, m, window)
    for start in range(least, len(values), _BLOCK):
        block = slice(start, start + _BLOCK)
        before = windows[: len(values)][block]
        counts = np.minimum(np.arange(len(values))[block], window)
        middle = _medians(before, counts)
        spread = _MAD_TO_SIGMA * _medians(np.abs(before - middle[..., None]), counts)
        medians[block] = middle
        sigmas[block] = (values[block] - middle) / np.maximum(spread, 1)
    return sigmas, medians


def _medians(windows: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The median over the last axis of (h, m, window), of which `counts` (h,) values are numbers and the others NaN."""
    ordered = np.sort(windows, axis=-1)  # NaN goes to the end
    low, high = ((counts - 1) // 2)[:, None, None], (counts // 2)[:, None, None]
    halves = (
        np.take_along_axis(ordered, np.broadcast_to(at, (*ordered.shape[:2], 1)), -1) for at in (low, high)
    )
    return np.asarray(sum(half[..., 0] for half in halves) / 2)
