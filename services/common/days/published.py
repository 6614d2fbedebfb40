"""What the writer has published of a day, by its pointers and counters: what a reader could show of it by now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.counts import read_counts
from services.common.days.generations import sealed_through
from services.common.days.names import read_pointer

if TYPE_CHECKING:
    from services.common.days.names import DayNames

SEALED = 0
"""Stands for the sealed generation where others are numbers of open segments, which begin with 1."""


def published(names: DayNames) -> dict[int, int]:
    """The number of the generation that serves, under `SEALED`, and the rows of each open segment behind it.

    Blocks on the disk for the pointer and a counter a segment.

    Raises:
        AppiaError: a pointer, a manifest or a counter is damaged.
        OSError, KeyError, ValueError: the same, or the day is going away just now.
    """
    segments = names.segments()  # before the pointer: they go after the generation that holds them is named
    generation = read_pointer(names.current)
    through = 0 if generation is None or not segments else sealed_through(names, generation)
    found = {
        number: read_counts(names.segment(number).counts("metadata"))[0]
        for number in segments
        if number > through
    }
    return found if generation is None else {SEALED: generation, **found}
