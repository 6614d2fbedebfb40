"""Thresholds up or down by a step: fewer detections, or more. Pure: what there is and a step in, proposals out.

Each threshold is moved on a scale of its own from 0 to 1, so that one step means about as much for each of them:

- the score of a detector is its own scale: a step of 0.05 makes 0.65 to 0.70;
- the percentile of novelty is moved by how rare it calls events: 90 is 0, 99 is a third, 99.9 two thirds and 99.99 is
  1, so that a step of 0.05 takes about a third of the events away wherever it begins.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from services.cli.proposals import Proposal, bounds_of
from services.common.config.tree import RAG, SECTIONS, SENSORS
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from services.common.config.tree import Value

DEFAULT_STEP, LEAST_STEP, MOST_STEP = 0.05, 0.005, 0.2
THRESHOLD: Final = "threshold_"
"""What the keys of sensors begin with that are thresholds of scores."""
NOVELTY: Final = "novel_percentile"
DECADES = 3
LEAST_PERCENTILE = 90.0
_DIGITS = 4


class Direction(StrEnum):
    """Which way: `accelerate` detects less, so that analysts and machines get through sooner; `decelerate` more."""

    ACCELERATE = "accelerate"
    DECELERATE = "decelerate"


def threshold_keys() -> dict[str, tuple[str, ...]]:
    """The keys that are thresholds, by section."""
    found = {
        SENSORS: tuple(key for key in SECTIONS[SENSORS].model_fields if key.startswith(THRESHOLD)),
        RAG: tuple(key for key in SECTIONS[RAG].model_fields if key == NOVELTY),
    }
    return {section: keys for section, keys in found.items() if keys}


def steps(
    now: Mapping[str, Mapping[str, Value]], direction: Direction, step: float, sections: Sequence[str]
) -> tuple[Proposal, ...]:
    """Every threshold of some sections a step higher or lower, never beyond its bounds.

    Args:
        now: the values in force, by section and key.
        direction: which way.
        step: how far, 0.005 to 0.2 of the scale.
        sections: those to change; all that have thresholds where empty.

    Raises:
        UsageError: the step is out of bounds, or a section has no thresholds.
    """
    check_step(step, sections)
    keys = threshold_keys()
    signed = step if direction is Direction.ACCELERATE else -step
    return tuple(
        _moved(section, key, float(now[section][key]), signed)
        for section in dict.fromkeys(sections) or keys
        for key in keys[section]
    )


def check_step(step: float, sections: Sequence[str]) -> None:
    """Refuse what `steps` would refuse, before anything is read.

    Raises:
        UsageError: the step is out of bounds, or a section has no thresholds.
    """
    if not LEAST_STEP <= step <= MOST_STEP:
        raise UsageError(f"a step of {step:g} is not possible: choose {LEAST_STEP:g} to {MOST_STEP:g}")
    for section in sections:
        if section not in threshold_keys():
            raise UsageError(
                f"{section!r} has no thresholds to move; there are those of {', '.join(threshold_keys())}"
            )


def _moved(section: str, key: str, value: float, signed: float) -> Proposal:
    lowest, highest = bounds_of(section, key)
    if key == NOVELTY:
        lowest, highest = max(lowest, LEAST_PERCENTILE), min(highest, _percentile(1.0))
        wanted = _percentile(_rarity(value) + signed)
    else:
        wanted = value + signed
    proposed = round(min(max(wanted, lowest), highest), _DIGITS)
    # What stands beyond the bounds of a step already is not pulled back by a step the other way.
    if (proposed - value) * signed <= 0:
        proposed = value
    return Proposal(section, key, value, proposed, "".join(_why(value, proposed, (lowest, highest))))


def _why(value: float, proposed: float, bounds: tuple[float, float]) -> Iterator[str]:
    if proposed == value:
        yield "at its bound already"
        return
    yield "fewer detections" if proposed > value else "more detections"
    if proposed in bounds:
        yield ", at its bound"


def _rarity(percentile: float) -> float:
    """Where a percentile stands on the scale from 90 (0) to 99.99 (1)."""
    rare = max(1 - percentile / 100, 10 ** -(DECADES + 2))
    return (-math.log10(rare) - 1) / DECADES


def _percentile(rarity: float) -> float:
    return 100 * (1 - 10 ** -(1 + DECADES * min(max(rarity, 0.0), 1.0)))
