"""Work that other threads hand to the thread of the intake, which does it between two groups."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

from services.common.durable import is_full
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK_S = 0.2


class Calls:
    """`call` is for any thread, the others for the one that does the work."""

    def __init__(self) -> None:
        """Nothing waits yet."""
        self._waiting: queue.Queue[Callable[[], None]] = queue.Queue()
        self._ended = threading.Event()

    def call(self, work: Callable[[], Any]) -> Any:
        """Have `work` done, and give what it returns. Blocks until then.

        Raises:
            AppiaError: `work` raised it, the disk is full, or nothing is done any more.
        """
        done = threading.Event()
        result: list[Any] = []
        failure: list[BaseException] = []

        def run() -> None:
            try:
                result.append(work())
            except AppiaError as error:
                failure.append(error)
            except OSError as error:
                if not is_full(error):
                    raise
                failure.append(
                    AppiaError(f"The disk is full ({error.strerror}): free some space, then ask again.")
                )
            finally:
                done.set()

        self._waiting.put(run)
        while not done.wait(_LOOK_S):
            if self._ended.is_set():
                raise AppiaError("The intake has ended.")
        if failure:
            raise failure[0]
        if not result:
            raise AppiaError("The intake has ended.")
        return result[0]

    def do_all(self) -> None:
        """Do what waits. What it raises, but for `AppiaError` and a full disk, is raised here."""
        while True:
            try:
                work = self._waiting.get_nowait()
            except queue.Empty:
                return
            work()

    def end(self) -> None:
        """Do what waits, and nothing after that."""
        self._ended.set()
        self.do_all()
