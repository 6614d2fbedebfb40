"""What is usual: chance makes no change, what is far from the hours before does, and each day has its own rhythm."""

from __future__ import annotations

import numpy as np
import pytest

from services.rag.timeline.hours import MEASURES
from services.rag.timeline.usual import DAYS_BEFORE, HOURS_BEFORE, LEAST_DAYS, LEAST_HOURS, unusual

OUT, BYTES = MEASURES.index("out"), MEASURES.index("bytes")


def measured(values: np.ndarray, column: int = OUT) -> np.ndarray:
    """Measures of which one has some values and the others none."""
    measures = np.zeros((len(values), len(MEASURES)))
    measures[:, column] = values
    return measures


@pytest.mark.parametrize("rate", [0.5, 3, 40, 2000])
def test_chance_makes_no_change(rate: float) -> None:
    """Of 5,000 hours in which events come by chance, at any rate, none is six sigmas away from usual."""
    counts = np.random.default_rng(7).poisson(rate, 5000)
    found = unusual(np.arange(5000), measured(counts))
    assert np.abs(found.sigmas).max() < 6
    if rate >= 3:
        assert np.abs(found.usual[LEAST_HOURS:, OUT] / rate - 1).max() < 1


def test_an_hour_is_compared_with_what_was_before_it() -> None:
    """Sigmas and medians are those of the hours before, computed here one by one; with too few of them none."""
    counts = np.random.default_rng(8).integers(0, 60, 400)
    found = unusual(np.arange(0, 400 * 25, 25), measured(counts))  # no two hours of one time of day are near
    values = 2 * np.sqrt(counts + 0.375)
    for hour in range(400):
        before = values[max(hour - HOURS_BEFORE, 0) : hour]
        if len(before) < LEAST_HOURS:
            assert found.sigmas[hour, OUT] == 0
            continue
        middle = np.median(before)
        spread = 1.4826 * np.median(np.abs(before - middle))
        by_hours = (values[hour] - middle) / max(spread, 1)
        same = values[hour % 24 : hour : 24][-DAYS_BEFORE:]
        expected, usual = by_hours, middle
        if len(same) >= LEAST_DAYS:
            daily = (values[hour] - np.median(same)) / max(
                1.4826 * np.median(np.abs(same - np.median(same))), 1
            )
            if daily * by_hours < 0 or abs(daily) < abs(by_hours):
                expected, usual = (0 if daily * by_hours < 0 else daily), np.median(same)
        assert found.sigmas[hour, OUT] == pytest.approx(expected)
        assert found.usual[hour, OUT] == pytest.approx(max((usual / 2) ** 2 - 0.375, 0))


def test_what_happens_each_night_is_usual() -> None:
    """A backup at three o'clock is unusual until there are enough days of it; the same at another hour stays so."""
    hours = np.arange(24 * 20)
    counts = np.full(len(hours), 10)
    counts[hours % 24 == 3] = 900
    counts[24 * 15 + 16] = 900
    sigmas = unusual(hours, measured(counts)).sigmas[:, OUT]
    nights = np.flatnonzero(hours % 24 == 3)
    assert (sigmas[nights[1:LEAST_DAYS]] > 6).all()
    assert (np.abs(sigmas[nights[LEAST_DAYS:]]) < 1).all()
    assert sigmas[24 * 15 + 16] > 6


def test_a_new_level_becomes_usual() -> None:
    """What goes on is the past after half of the hours that are compared."""
    counts = np.concatenate([np.full(100, 10), np.full(300, 1000)])
    sigmas = unusual(np.arange(400) * 25, measured(counts)).sigmas[:, OUT]
    assert sigmas[100] > 6
    assert (np.abs(sigmas[100 + HOURS_BEFORE :]) < 1).all()


def test_bytes_count_by_factors() -> None:
    """Twice as many bytes are one sigma, where the hours before were alike."""
    volumes = np.full(30, 1023.0)
    volumes[20:22] = 2047, 1023 * 2.0**10
    found = unusual(np.arange(30) * 25, measured(volumes, BYTES))
    assert found.sigmas[20:22, BYTES] == pytest.approx([1, 10], abs=0.01)
    assert found.usual[20, BYTES] == pytest.approx(1023)
