"""Places for what is done at the same time; who comes when all are taken is told so at once.

Where keys ask, none of them gets more than half of all places, so that one cannot keep the others out.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.common.rpc import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Places:
    """Counts who is in. For the tasks of one event loop."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._most = max(count // 2, 1)
        self._in = Counter[str]()

    @contextmanager
    def taken(self, key: str | None = None) -> Iterator[None]:
        """Take a place as long as the block runs, for a key by its name or for nobody in particular.

        Raises:
            RequestError: `busy`, all places are taken, or all that one key may have.
        """
        if self._free < 1:
            raise RequestError("busy", "Too many requests are being answered already; ask again in a moment.")
        if key is not None and self._in[key] >= self._most:
            raise RequestError(
                "busy",
                f"{self._most} requests of the key {key} are being answered already; wait for one of them.",
            )
        self._free -= 1
        self._count(key, 1)
        try:
            yield
        finally:
            self._free += 1
            self._count(key, -1)

    def _count(self, key: str | None, change: int) -> None:
        if key is not None:
            self._in[key] += change
            if not self._in[key]:
                del self._in[key]
