"""Read the numbers of many events at once, straight from their bytes.

Reading 144 fields one by one costs longer than everything else that is done with an event. Here all events of
a batch are walked in lockstep: each step reads one field of every event with a handful of numpy operations.
A message inside the event is entered in place, so fields are seen in wire order, and where one occurs twice
the last one wins, as in any protobuf reader. What is rare (groups, varints of nine bytes and more, tags of
three bytes and more, damage) is not read here: such events are reported as odd, for a slower reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.events import layout
from services.common.events.layout import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

# Below this many events a step costs more than reading them one by one.
FEW = 32
# An event of more fields than this is odd, so that one huge event cannot hold up a batch.
MOST_STEPS = 1024

# Neighbouring groups of 7, 14 and 28 bits, and the gap between them.
_JOINS = tuple(
    (np.uint64(low), np.uint64(high), np.uint64(gap))
    for low, high, gap in (
        (0x007F_007F_007F_007F, 0x7F00_7F00_7F00_7F00, 1),
        (0x0000_3FFF_0000_3FFF, 0x3FFF_0000_3FFF_0000, 2),
        (0x0000_0000_0FFF_FFFF, 0x0FFF_FFFF_0000_0000, 4),
    )
)
PADDING = bytes(16)  # so that eight bytes can be read anywhere in the batch
STOPS = np.uint64(0x8080_8080_8080_8080)


@dataclass(frozen=True)
class Scan:
    """What a walk over n events found: m numbers in wire order, later ones win."""

    rows: NDArray[np.intp]  # (m,) event of each number
    columns: NDArray[np.intp]  # (m,) column, see `layout`
    numbers: NDArray[np.float64]  # (m,)
    seen: NDArray[np.bool_]  # (n, contexts) which messages occur in which event
    odd: NDArray[np.bool_]  # (n,) events that were not read; their numbers mean nothing


def scan(payloads: Sequence[bytes]) -> Scan:
    """Walk n payloads. Never raises on any bytes; takes at most `MOST_STEPS` steps."""
    walk = _Walk(payloads)
    steps = 0
    while walk.size > FEW and steps < MOST_STEPS:
        walk.step()
        steps += 1
    return walk.result()


class _Walk:
    """One cursor per event that is still being read; every array below is one value per cursor."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        buffer = b"".join([*payloads, PADDING])
        usable = len(buffer) - len(PADDING) + 1
        self._pairs = np.ndarray(usable, "<u2", buffer, strides=(1,))
        # A tag has at most two bytes, so a value starts at most two bytes later.
        self._words = np.ndarray(usable + 2, "<u8", buffer, strides=(1,))
        count = len(payloads)
        lengths = np.fromiter(map(len, payloads), np.intp, count)
        ends = np.cumsum(lengths)
        self._rows = np.arange(count)
        self._ends = ends.copy()
        self._position = ends - lengths
        self._base = np.zeros(count, np.intp)  # context << CONTEXT_SHIFT
        self._outer = np.zeros((count, len(layout.CONTEXTS)), np.intp)  # end of each open message
        self._outer[:, 0] = ends
        self._seen = np.zeros((count, len(layout.CONTEXTS)), np.bool_)
        self._seen[:, 0] = True
        self._odd = np.zeros(count, np.bool_)
        self._found: list[tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.uint64]]] = []
        self._keep(self._leave(np.ones(count, np.bool_)))

    @property
    def size(self) -> int:
        """Events still being read."""
        return self._rows.size

    def step(self) -> None:
        """Read one field of every event."""
        entry = layout.TABLE[self._base + self._pairs[self._position]]
        start = self._position + (entry & layout.TAG_BYTES)
        word = self._words[start]
        stop = ~word & STOPS
        length = np.bitwise_count(stop ^ (stop - np.uint64(1))) >> 3
        has_varint = (entry & layout.VARINT) != 0
        fixed = (entry >> layout.FIXED_SHIFT) & layout.FIXED_MASK
        reach = start + np.where(has_varint, length, fixed)
        self._found.append((self._rows, entry, word))
        delimited = np.flatnonzero(entry & layout.DELIMITED)
        inner = reach[delimited]
        if delimited.size:
            reach[delimited] += varint(word[delimited], length[delimited]).astype(np.intp)
        fine = (entry != 0) & (reach <= self._ends) & ~(has_varint & (stop == 0))
        self._position = reach
        if delimited.size:
            self._enter(entry, delimited, inner)
        if not fine.all():
            self._odd[self._rows[~fine]] = True
        self._keep(self._leave(fine))

    def _enter(self, entry: NDArray[np.int32], delimited: NDArray[np.intp], inner: NDArray[np.intp]) -> None:
        """Put the cursors that stand on a known message at its first field (`inner`) instead of behind it."""
        child = (entry[delimited] >> layout.CHILD_SHIFT) & layout.CHILD_MASK
        known = np.flatnonzero(child)
        if not known.size:
            return
        cursors, child = delimited[known], child[known]
        rows = self._rows[cursors]
        self._ends[cursors] = self._outer[rows, child] = self._position[cursors]
        self._seen[rows, child] = True
        self._base[cursors] = child.astype(np.intp) << layout.CONTEXT_SHIFT
        self._position[cursors] = inner[known]

    def _leave(self, fine: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Go back to the outer message where one has ended; unmark in `fine` the events that have ended."""
        cursors = np.flatnonzero(self._position >= self._ends)
        while cursors.size:
            parent = layout.PARENTS[self._base[cursors] >> layout.CONTEXT_SHIFT]
            fine[cursors[parent < 0]] = False
            cursors, parent = cursors[parent >= 0], parent[parent >= 0]
            self._base[cursors] = parent << layout.CONTEXT_SHIFT
            self._ends[cursors] = self._outer[self._rows[cursors], parent]
            cursors = cursors[self._position[cursors] >= self._ends[cursors]]
        return fine

    def _keep(self, going: NDArray[np.bool_]) -> None:
        if going.all():
            return
        left = np.flatnonzero(going)
        self._rows = self._rows[left]
        self._position = self._position[left]
        self._ends = self._ends[left]
        self._base = self._base[left]

    def result(self) -> Scan:
        """Everything found; events whose walk was not finished count as odd."""
        self._odd[self._rows] = True
        if not self._found:
            none = np.zeros(0, np.intp)
            return Scan(none, none, np.zeros(0), self._seen, self._odd)
        rows, entries, words = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        kinds = (entries >> layout.KIND_SHIFT) & layout.KIND_MASK
        known = np.flatnonzero(kinds)
        numbers = decode(words[known], kinds[known])
        return Scan(rows[known], entries[known] >> layout.COLUMN_SHIFT, numbers, self._seen, self._odd)


def varint(words: NDArray[np.uint64], length: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Join the seven-bit groups of varints of 1 to 8 bytes that lie little-endian in 64-bit words."""
    spare = np.uint64(64) - (length.astype(np.uint64) << np.uint64(3))
    joined = words & (np.uint64(0x7F7F_7F7F_7F7F_7F7F) >> spare)
    for low, high, gap in _JOINS:
        joined = (joined & low) | (joined & high) >> gap
    return joined


def decode(words: NDArray[np.uint64], kinds: NDArray[np.integer]) -> NDArray[np.float64]:
    """Turn raw 64-bit words into numbers, each by its `Kind`; NaN and infinities stay what they are."""
    numbers = words.view(np.float64).copy()
    floats = np.flatnonzero(kinds == Kind.FLOAT)
    if floats.size:
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one, which is what is wanted
            numbers[floats] = words[floats].astype(np.uint32).view(np.float32)
    places = np.flatnonzero(kinds > Kind.FLOAT)
    stop = ~words[places] & STOPS
    whole = varint(words[places], np.bitwise_count(stop ^ (stop - np.uint64(1))) >> 3)
    numbers[places] = whole  # right for UINT64
    kinds = kinds[places]
    for kind, narrow in _NARROW.items():
        chosen = np.flatnonzero(kinds == kind)
        if chosen.size:
            numbers[places[chosen]] = narrow(whole[chosen])
    return numbers


_NARROW: dict[Kind, Callable[[NDArray[np.uint64]], NDArray[Any]]] = {
    Kind.UINT32: lambda whole: whole.astype(np.uint32),
    Kind.INT32: lambda whole: whole.astype(np.uint32).view(np.int32),
    Kind.BOOL: lambda whole: whole != 0,
    Kind.INT64: lambda whole: whole.view(np.int64),
}
