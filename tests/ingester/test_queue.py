"""The queue between intake and indices holds a budget of bytes, and whoever puts waits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from services.ingester.queue import ByteQueue

if TYPE_CHECKING:
    from collections.abc import Callable


def test_items_come_out_in_the_order_in_which_they_went_in() -> None:
    queue = ByteQueue(100)
    for number in range(3):
        queue.put(number, 10)
    assert queue.bytes == 30
    assert queue.peek() == 0
    assert [queue.get(0) for _ in range(4)] == [0, 1, 2, None]
    assert queue.bytes == 0
    assert queue.peek() is None


def test_who_puts_waits_until_there_is_room(eventually: Callable[..., None]) -> None:
    """A full budget blocks the next item, and taking one lets it in."""
    queue = ByteQueue(100)
    queue.put("first", 60)
    queue.put("second", 40)
    done = threading.Event()
    thread = threading.Thread(target=lambda: (queue.put("third", 1), done.set()))
    thread.start()
    assert not done.wait(0.1)
    assert queue.get(0) == "first"
    eventually("the third item is in", done.is_set)
    thread.join()
    assert [queue.get(0), queue.get(0)] == ["second", "third"]


def test_an_item_above_the_budget_passes_alone() -> None:
    """One item larger than the budget must not wait for ever."""
    queue = ByteQueue(10)
    queue.put("large", 1000)
    assert (queue.bytes, queue.get(0)) == (1000, "large")


def test_a_closed_queue_gives_what_it_has_and_then_nothing() -> None:
    queue = ByteQueue(10)
    queue.put("last", 1)
    queue.close()
    assert not queue.closed
    assert queue.get(5) == "last"
    assert queue.closed
    assert queue.get(5) is None


def test_closing_wakes_who_waits_for_an_item() -> None:
    queue = ByteQueue(10)
    thread = threading.Thread(target=lambda: queue.get(60))
    thread.start()
    queue.close()
    thread.join(10)
    assert not thread.is_alive()


def test_closing_wakes_who_waits_for_room() -> None:
    """Nobody takes from a closed queue whose reader has failed: who puts must not wait for ever."""
    queue = ByteQueue(10)
    queue.put("first", 10)
    thread = threading.Thread(target=lambda: queue.put("second", 10), daemon=True)
    thread.start()
    queue.close()
    thread.join(10)
    assert not thread.is_alive()
