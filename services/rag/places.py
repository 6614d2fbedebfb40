"""Places for what is done at the same time; who comes when all are taken is told so at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.common.rpc import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Places:
    """Counts who is in. For the tasks of one event loop."""

    def __init__(self, count: int) -> None:
        self._free = count

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take a place as long as the block runs.

        Raises:
            RequestError: `busy`, all places are taken.
        """
        if self._free < 1:
            raise RequestError("busy", "Too many requests are being answered already; ask again in a moment.")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
