"""A queue between two threads with a budget in bytes: who puts waits while it is full."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_S = 1.0


class ByteQueue:
    """First in, first out. One item always fits, however large, so that nothing waits for ever."""

    def __init__(self, budget_bytes: int) -> None:
        """Hold items of at most `budget_bytes` in all."""
        self._budget = budget_bytes
        self._items: deque[tuple[object, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False

    def resize(self, budget_bytes: int) -> None:
        """Hold more or less from now on; what is held stays."""
        with self._changed:
            self._budget = budget_bytes
            self._changed.notify_all()

    @property
    def budget(self) -> int:
        """Bytes that it may hold."""
        return self._budget

    @property
    def closed(self) -> bool:
        """Whether nothing more comes and nothing is left."""
        with self._changed:
            return self._closed and not self._items

    @property
    def bytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def put(self, item: object, size: int, waiting: Callable[[], None] = lambda: None) -> None:
        """Append an item of `size` bytes; blocks while the budget is full. What comes after `close` is dropped.

        `waiting` is called now and then while it blocks, with the queue's lock held.
        """
        with self._changed:
            while not self._changed.wait_for(lambda: self._takes(size), LOOK_S):
                waiting()
            if self._closed:
                return
            self._items.append((item, size))
            self._bytes += size
            self._changed.notify_all()

    def _takes(self, size: int) -> bool:
        return self._closed or not self._items or self._bytes + size <= self._budget

    def get(self, timeout_s: float) -> object | None:
        """The next item; None where none comes within the time, or the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout_s)
            if not self._items:
                return None
            item, size = self._items.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return item

    def peek(self, timeout_s: float = 0.0) -> object | None:
        """The next item without taking it; None where none comes within the time."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout_s)
            return self._items[0][0] if self._items else None

    def close(self) -> None:
        """Say that nothing more comes; what is in the queue can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
