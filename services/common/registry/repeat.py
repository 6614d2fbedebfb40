"""A thread that repeats one step until it is stopped."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Repeater:
    """Runs `step` in a daemon thread, at once and then again after as many seconds as it returned.

    Args:
        name: The thread's name.
        step: Returns the seconds to wait before the next run. It handles its own errors: whatever it
            raises ends the thread and goes to `threading.excepthook`.
    """

    def __init__(self, name: str, step: Callable[[], float]) -> None:
        self._step = step
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; once only. Does not block.

        Raises:
            RuntimeError: It was started before.
        """
        self._thread.start()

    def stop(self) -> None:
        """End the thread; blocks until the step that may be running has returned."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self._step())
