"""The book of retention in the ingester's hand: who asks for a day to be held, and what was decided to go.

One lock stands around every change, so a day is either held or on its way out, never both.
"""

from __future__ import annotations

import threading
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from services.common.days.holds import MOST_HOLDS, Book, Hold, make_hold, read_book, to_bytes
from services.common.days.names import parse_day, read_pointer
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.common.days.names import StateNames
    from services.common.durable import Disk

MANUAL = "manual"
"""The case of a hold for which none is named."""


class BookKeeper:
    """The book in memory and on disk. For any thread."""

    def __init__(self, state: StateNames, disk: Disk) -> None:
        """Read nothing yet."""
        self._path, self._disk = state.retention, disk
        self._lock = threading.Lock()  # guards what follows
        self._book: Book | None = None

    def book(self) -> Book:
        """What is written down.

        Raises:
            AppiaError: the file is damaged; it is read again each time, so it may be restored meanwhile.
        """
        with self._lock:
            return self._known()

    def change(self, change: Callable[[Book], Book]) -> Book:
        """Put `change(book)` in the place of the book; it is on disk when this returns. Blocks.

        Raises:
            AppiaError: the file is damaged, or `change` refused.
            OSError: it could not be written; the book is as it was.
        """
        with self._lock:
            before = self._known()
            after = change(before)
            if after != before:
                self._disk.write_file(self._path, to_bytes(after))
                self._book = after
            return after

    def _known(self) -> Book:
        if self._book is None:
            self._book = read_book(self._path)
        return self._book


class HoldDesk:
    """Answers who asks for a day to be held, to be let go, and which are held. For any thread."""

    def __init__(self, state: StateNames, keeper: BookKeeper, clock: Callable[[], int]) -> None:
        """`clock` gives nanoseconds since 1970."""
        self._state, self._keeper, self._clock = state, keeper, clock

    def hold(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Hold `day` for `case`; `who` and `note` say by whom and why. Gives the hold; it is on disk.

        Raises:
            UsageError: an argument is wrong.
            AppiaError: there is no such day, it went already, or there are too many holds.
        """
        case = str(args.get("case") or MANUAL)
        hold = make_hold(_day(args), case, str(args.get("who", "")), str(args.get("note", "")), self._now())
        self._keeper.change(lambda book: self._with(book, hold))
        return asdict(hold)

    def release(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Let go of the hold on `day` for `case`, of all its holds where no case is given. Gives them, and what stays.

        Raises:
            UsageError: an argument is wrong.
            AppiaError: there is no such hold.
        """
        day, case = _day(args), str(args.get("case") or "")
        found: list[Hold] = []

        def without(book: Book) -> Book:
            found.extend(hold for hold in book.holds_of(day) if case in ("", hold.case))
            if not found:
                whose = f" for the case {case!r}" if case else ""
                raise AppiaError(f"Day {day} is not held{whose}; `appia hold` lists what is.")
            return book.without_holds(tuple(found))

        left = self._keeper.change(without).holds_of(day)
        return {"released": [asdict(hold) for hold in found], "left": [asdict(hold) for hold in left]}

    def describe(self) -> dict[str, Any]:
        """Everything in the book as plain data. Raises `AppiaError` where it is damaged."""
        return asdict(self._keeper.book())

    def _with(self, book: Book, hold: Hold) -> Book:
        names = self._state.day(hold.day)
        if hold.day in book.refused:
            raise AppiaError(f"Day {hold.day} was dropped: only a backup has it.")
        if read_pointer(names.current) is None and not names.segments():
            raise AppiaError(f"There is no day {hold.day}; `appia days` shows those there are.")
        if len(book.holds) >= MOST_HOLDS:
            raise AppiaError(f"There are {MOST_HOLDS:,} holds already: release some that are over.")
        return book.with_hold(hold)

    def _now(self) -> str:
        return iso(self._clock())


def iso(time_ns: int) -> str:
    """A time in nanoseconds since 1970 as ISO 8601 in UTC, whole seconds."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(args: Mapping[str, Any]) -> str:
    day = args.get("day")
    if not isinstance(day, str):
        raise UsageError("The argument 'day' must be a day, YYYY-MM-DD.")
    return parse_day(day)
