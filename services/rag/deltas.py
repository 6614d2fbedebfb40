"""What tells two events apart: the features in which they differ, the most unusual difference first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.events.feature_list import FEATURES
from services.rag.feature_words import comparative, name_of, value_text
from services.rag.spread import NOMINAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.rag.events import Place
    from services.rag.spread import Spread

MOST_DELTAS = 12
"""Differences that are told of one pair of events."""
ALIKE = 0.5
"""Sigmas below which two values are told as alike."""
_MOST_TOLD = 100.0
_IS_A_NUMBER = np.array([column not in NOMINAL for column in range(len(FEATURES))])


@dataclass(frozen=True)
class Measured:
    """The features of one event: float32 (144,), and which of them the event has, bool (144,)."""

    values: NDArray[np.float32]
    present: NDArray[np.bool_]


def compare(here: Measured, there: Measured, spread: Spread) -> dict[str, Any]:
    """How the event `here` differs from the event `there`.

    Gives {"deltas", "changed", "alike", "unmatched"}: numbers with their distance in robust sigmas of the day, the
    largest first and at most `MOST_DELTAS`; features that name something (a port) and name something else; how many
    features are alike; and the features that only one of the two has.
    """
    both = here.present & there.present
    sigmas = np.where(both & _IS_A_NUMBER, spread.sigmas(here.values, there.values), 0.0)
    order = np.argsort(-np.abs(sigmas), kind="stable")
    told = _told_once([c for c in order.tolist() if sigmas[c]], here.values, there.values)
    named = [c for c in NOMINAL if both[c] and here.values[c] != there.values[c]]
    return {
        "deltas": [_delta(c, here, there, float(sigmas[c])) for c in told[:MOST_DELTAS]],
        "changed": [_changed(c, here, there, spread) for c in named],
        "alike": int(np.count_nonzero(both & (np.abs(sigmas) < ALIKE))) - len(named),
        "unmatched": [FEATURES[c].path for c in np.flatnonzero(here.present != there.present).tolist()],
    }


def _told_once(columns: list[int], here: NDArray[np.float32], there: NDArray[np.float32]) -> list[int]:
    """Without those that say the same: of one unit, and with the same two values as one before."""
    seen = {(FEATURES[c].unit, float(here[c]), float(there[c])): c for c in reversed(columns)}
    return [c for c in columns if seen[FEATURES[c].unit, float(here[c]), float(there[c])] == c]


def _delta(column: int, here: Measured, there: Measured, sigmas: float) -> dict[str, Any]:
    return {
        **_values(column, here, there),
        "sigmas": round(sigmas, 2),
        "says": (
            f"{name_of(column)} {value_text(column, float(here.values[column]))} against "
            f"{value_text(column, float(there.values[column]))}: {sigmas_text(column, sigmas)}"
        ),
    }


def sigmas_text(column: int, sigmas: float) -> str:
    """A difference in words: "5.1 sigmas longer"."""
    size = abs(sigmas)
    told = f"over {_MOST_TOLD:.0f}" if size > _MOST_TOLD else "under 0.1" if size < 0.1 else f"{size:.1f}"
    return f"{told} {'sigma' if told == '1.0' else 'sigmas'} {comparative(column, sigmas)}"


def _changed(column: int, here: Measured, there: Measured, spread: Spread) -> dict[str, Any]:
    def told(one: Measured) -> str:
        value = float(one.values[column])
        share = spread.share(column, value)
        return f"{value_text(column, value)} ({f'{share:.1%}' if share else 'none'} of the day's events)"

    return {**_values(column, here, there), "says": f"{name_of(column)} {told(here)} against {told(there)}"}


def _values(column: int, here: Measured, there: Measured) -> dict[str, Any]:
    feature = FEATURES[column]
    return {
        "feature": feature.path,
        "name": name_of(column),
        "unit": feature.unit,
        "event": float(here.values[column]),
        "other": float(there.values[column]),
    }


def measure(places: Sequence[Place]) -> list[Measured]:
    """The features of the events in some places; blocks for reading their bytes.

    Raises:
        AppiaError: the bytes of one are damaged.
    """
    from services.common.events.features import extract  # noqa: PLC0415 - 15 MB that not every replica needs

    positions = [int(place.view.columns["position"][place.row]) for place in places]
    payloads = [place.view.events.payload(at) for place, at in zip(places, positions, strict=True)]
    found = extract(payloads)
    return [Measured(*pair) for pair in zip(found.values, found.present, strict=True)]
