"""Which of the newest payloads came already, for a log whose oldest files are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.common.days.identity import IdentitySet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


class RecentIdentities:
    """Knows at least the newest `most` payloads, and hardly more than twice as many. For one thread.

    Two sets hold them: the older knows all that the younger does, and goes when that has `most`.
    """

    def __init__(self, runs: Sequence[NDArray[np.void]], most: int, folder: Path) -> None:
        """Begin with `runs` of at most `most` identities, each sorted by `sort_identities`.

        Large ones move to files in `folder`.
        """
        self._most, self._folder = most, folder
        self._older, self._younger = IdentitySet(runs, folder), IdentitySet((), folder)
        self._in_younger = 0

    def add_new(self, payloads: Sequence[bytes]) -> NDArray[np.bool_]:
        """Add payloads; True (n,) where one was not known, also not earlier in `payloads`."""
        if self._in_younger >= self._most:
            self._older.close()
            self._older, self._younger, self._in_younger = self._younger, IdentitySet((), self._folder), 0
        new = self._older.add_new(payloads)
        added = [payloads[at] for at in np.flatnonzero(new).tolist()]
        if added:
            self._younger.add_new(added)
            self._in_younger += len(added)
        return new

    def take_back(self, payloads: Sequence[bytes]) -> None:
        """Forget payloads that the last `add_new` said were new."""
        self._older.take_back(payloads)
        self._younger.take_back(payloads)
        self._in_younger -= len(payloads)

    def close(self) -> None:
        """Give the files back."""
        self._older.close()
        self._younger.close()
