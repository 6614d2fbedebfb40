"""How fast a mirror reads: not above a rate, and in pieces so short that an open day never waits long for its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST, MOST = 16 << 10, 1 << 20
"""Bytes in one piece."""
_SHORT_S, _LONG_S = 0.1, 0.5
"""What a piece may take: below, the next is larger; above, it is smaller."""


class Pace:
    """A token bucket that may be overdrawn by one piece, and the size of the next piece. For one thread."""

    def __init__(self, bytes_per_s: int, clock: Callable[[], float], wait: Callable[[float], object]) -> None:
        """`bytes_per_s` 0 is no limit; `clock` gives seconds that never go back, `wait` blocks for some of them."""
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._wait = wait
        self._free_at = clock()  # when all that was read is paid for
        # Half a second of the rate: what an open day has to wait for at most.
        self._most = min(MOST, max(bytes_per_s // 2, 1)) if bytes_per_s else MOST
        self.piece = min(self._most, 256 << 10)
        self.bytes = 0  # read since the start

    def wait_turn(self) -> None:
        """Block until the next piece may be read."""
        left_s = self._free_at - self._clock()
        if left_s > 0:
            self._wait(left_s)

    def spent(self, size: int, took_s: float) -> None:
        """So many bytes were read, in so many seconds."""
        self.bytes += size
        if self._bytes_per_s:
            self._free_at = max(self._free_at, self._clock()) + size / self._bytes_per_s
        if took_s > _LONG_S:
            self.piece = max(self.piece // 2, min(LEAST, self._most))
        elif took_s < _SHORT_S and size >= self.piece:
            self.piece = min(self.piece * 2, self._most)
