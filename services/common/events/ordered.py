"""Numbers found by sorted keys, as a log-structured merge tree of two levels finds them: growing costs little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Level = tuple[NDArray[np.uint64], NDArray[np.int32]]

_SMALL = 4096
_SHARE = 16  # the small level has at most a sixteenth of the large one's keys, so that each key is moved a few times


class OrderedNumbers:
    """Keys (uint64) and the number of each (int32). 12 bytes a key. Not safe for several threads."""

    def __init__(self) -> None:
        """Hold no key."""
        self._large: Level = (np.empty(0, np.uint64), np.empty(0, np.int32))
        self._small = self._large

    def __len__(self) -> int:
        """Count the keys."""
        return len(self._large[0]) + len(self._small[0])

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The number of each key, int64 (n,); -1 where there is none."""
        found = np.full(len(keys), -1, np.int64)
        for known, numbers in (self._large, self._small):
            if len(known):
                places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
                here = known[places] == keys
                found[here] = numbers[places[here]]
        return found

    def add(self, keys: NDArray[np.uint64], numbers: NDArray[np.integer]) -> None:
        """Add distinct keys (n,) that are not there yet."""
        self._small = _merged(self._small, (keys, numbers.astype(np.int32)))
        if len(self._small[0]) > max(_SMALL, len(self._large[0]) // _SHARE):
            self._large = _merged(self._large, self._small)
            self._small = (np.empty(0, np.uint64), np.empty(0, np.int32))

    def between(
        self, first: NDArray[np.uint64], last: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All numbers of keys in n ranges, ends included: which range (k,), and the number (k,), both int64."""
        owners: list[NDArray[np.int64]] = []
        found: list[NDArray[np.int64]] = []
        for known, numbers in (self._large, self._small):
            starts = np.searchsorted(known, first)
            counts = np.searchsorted(known, last, "right") - starts
            owner = np.repeat(np.arange(len(first)), counts)
            place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
            owners.append(owner)
            found.append(numbers[starts[owner] + place].astype(np.int64))
        return np.concatenate(owners), np.concatenate(found)

    def numbers(self) -> NDArray[np.int64]:
        """All numbers in the order of their keys, int64 (n,)."""
        return _merged(self._large, self._small)[1].astype(np.int64)


def _merged(one: Level, other: Level) -> Level:
    keys = np.concatenate((one[0], other[0]))
    order = np.argsort(keys, kind="stable")  # two sorted runs: linear
    return keys[order], np.concatenate((one[1], other[1]))[order]
