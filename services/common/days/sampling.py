"""Leaves the vectors of some clearly benign events out of a sealed index, for small machines.

What is malicious, or was never judged, keeps its vectors whole. The events themselves all stay in the day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.chunk_builder import iterate_blocks
from services.common.days.distinct import Embedded
from services.common.days.identity import identities
from services.common.days.vectors import NO_VECTOR
from services.common.events.known_names import BENIGN_WORDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.common.days.chunk import Chunk

_SUSPICIOUS_SCORE = 0.5


def sample_benign(embedded: Embedded, chunk: Chunk, rate: float) -> Embedded:
    """The vectors that stay when `rate` (0 to 1) of the clearly benign events of a chunk are chosen to have one.

    An event that was not chosen keeps its vector where another event keeps it. Blocks about 3 microseconds an event.

    Raises:
        AppiaError: a block of the chunk is damaged.
    """
    if rate >= 1:
        return embedded
    stays = np.zeros(len(embedded.vectors), bool)
    stays[embedded.codes[chosen_rows(chunk, rate)]] = True
    numbers = np.full(len(stays), NO_VECTOR, np.uint32)
    numbers[stays] = np.arange(np.count_nonzero(stays), dtype=np.uint32)
    return Embedded(embedded.vectors[stays], numbers[embedded.codes])


def chosen_rows(chunk: Chunk, rate: float) -> NDArray[np.bool_]:
    """Which events have a vector of their own, bool (rows,): all but those benign ones that the rate leaves out.

    An event's identity, a part of a SHA-256, decides. So the same events are chosen for every index and generation,
    and a higher rate chooses those of a lower one and more.
    """
    below = np.uint64(min(int(rate * 2**64), 2**64 - 1))
    by_identity = [identities(events)["high"] < below for events in iterate_blocks(chunk)]
    return np.asarray(
        ~clearly_benign(chunk.columns, chunk.texts) | np.concatenate([np.empty(0, bool), *by_identity])
    )


def clearly_benign(columns: Mapping[str, NDArray[Any]], texts: Sequence[str]) -> NDArray[np.bool_]:
    """Which events were judged benign, with nothing that speaks against it, bool (rows,).

    Nothing: no detector that fired, no score of 0.5 or more, no category or label that says otherwise.

    Args:
        columns: those of `columns.ROW` by name, each (rows,).
        texts: the table that they refer to; only the texts that occur are looked at.
    """
    used = np.zeros(len(texts), bool)
    for name in ("class", "category", "label"):
        used[columns[name]] = True
    words, silent = np.zeros(len(texts), bool), np.zeros(len(texts), bool)
    for code in np.flatnonzero(used).tolist():
        text = texts[code].strip().lower()
        words[code] = text in BENIGN_WORDS
        silent[code] = not text or words[code]
    found = words[columns["class"]] & silent[columns["category"]] & silent[columns["label"]]
    found &= columns["fast_triggered"] == np.uint8(0)
    for name in ("overall", "fast", "ml"):
        found &= np.asarray(columns[name], np.float32) < _SUSPICIOUS_SCORE
    return np.asarray(found)
