"""How much each key of the ring is used: what an operator looks at before one is retired."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class KeyUse:
    """Counts authentic frames by key id, so there are no more entries than keys. One thread notes, any may read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds that never go back."""
        self._clock = clock
        self._used: dict[int, tuple[int, float]] = {}

    def note(self, key_id: int) -> None:
        """Count a frame that came now."""
        frames, _ = self._used.get(key_id, (0, 0.0))
        self._used[key_id] = (frames + 1, self._clock())

    def as_dict(self) -> dict[str, dict[str, int]]:
        """Frames since the start and whole seconds since the last one, by key id."""
        now = self._clock()
        return {
            str(key): {"frames": frames, "quiet_s": int(now - last)}
            for key, (frames, last) in self._used.copy().items()
        }
