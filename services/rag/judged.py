"""Which events matter: those that somebody or something held to be more than harmless."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.events.known_names import BENIGN_WORDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

JUDGED = ("class", "category", "label", "overall")
"""The columns that decide."""
SUSPICIOUS_SCORE = 0.5
"""An overall threat score from which an event matters that nobody gave a class."""


def mattering(columns: Mapping[str, NDArray[Any]], texts: Sequence[str]) -> NDArray[np.bool_]:
    """Which events matter, bool (rows,).

    The final class decides where there is one: all but the words for harmless matter. Without a class it is a category
    or label that says something else than harmless, or an overall score of `SUSPICIOUS_SCORE` or more.

    Args:
        columns: those of `columns.ROW` that `JUDGED` names, each (rows,).
        texts: the table that they refer to; only the texts that occur are looked at.
    """
    named, alarming = _texts_that(columns, texts)
    classes = columns["class"]
    by_others = alarming[columns["category"]] | alarming[columns["label"]]
    by_others |= np.asarray(columns["overall"], np.float32) >= SUSPICIOUS_SCORE
    return np.asarray(np.where(named[classes], alarming[classes], by_others))


def _texts_that(
    columns: Mapping[str, NDArray[Any]], texts: Sequence[str]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which texts say something, and which of them something else than harmless, bool (texts,) each."""
    used = np.zeros(len(texts), bool)
    for name in ("class", "category", "label"):
        used[columns[name]] = True
    named, alarming = np.zeros(len(texts), bool), np.zeros(len(texts), bool)
    for code in np.flatnonzero(used).tolist():
        text = texts[code].strip().lower()
        named[code] = bool(text)
        alarming[code] = bool(text) and text not in BENIGN_WORDS
    return named, alarming
