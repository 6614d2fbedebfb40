"""What analysts said, as answers use it: shown beside events, as a filter of rows, and listed."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from services.common.errors import AppiaError
from services.common.feedback.book import Book, Page
from services.common.feedback.follower import FeedbackFollower
from services.common.feedback.remark import Verdict
from services.common.rest.storage_keys import NO_KEYS
from services.rag.scope import iso_time
from services.rag.shown import change_events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from structlog.typing import FilteringBoundLogger

    from services.common.days.names import StateNames
    from services.common.days.view import EventStore, SegmentView
    from services.common.feedback.remark import Remark
    from services.common.rest.log_keys import LogKeys

ANY, NONE = "any", "none"
FEEDBACK = (*Verdict, ANY, NONE)
"""Values of the filter: a verdict that stands, anything that stands, nothing that stands."""
MOST_SHOWN = 8


@dataclass(frozen=True)
class _Known:
    """Where the events of the first `remarks` remarks lie among the first `rows` rows of a segment."""

    rows: int
    remarks: int
    found: Mapping[str, tuple[int, ...]]


class RemarkedRows:
    """In which rows of each segment the events lie that analysts spoke about. Safe for several threads.

    Kept as long as the segment's files are. A first look costs about 3 microseconds a remark and segment.
    """

    def __init__(self) -> None:
        """Know of none."""
        self._lock = threading.Lock()
        self._known: WeakKeyDictionary[EventStore, _Known] = WeakKeyDictionary()

    def of(self, view: SegmentView, page: Page) -> Mapping[str, tuple[int, ...]]:
        """The rows of each event of the page that is in the segment, ascending; maybe also those of later remarks.

        Raises:
            AppiaError: the segment's database is damaged.
        """
        with self._lock:
            known = self._known.get(view.events)
        if known is None or known.rows != view.rows:
            known = _Known(view.rows, 0, {})
        if known.remarks < page.count:
            known = _Known(view.rows, page.count, {**known.found, **_look_up(view, page, known.remarks)})
            with self._lock:
                self._known[view.events] = known
        return known.found


def _look_up(view: SegmentView, page: Page, first: int) -> dict[str, tuple[int, ...]]:
    """Where the events of the remarks from number `first` on lie."""
    event_ids = list(dict.fromkeys(page.book.remark(number).event_id for number in range(first, page.count)))
    found: dict[str, list[int]] = {}
    try:
        for event_id, row in view.events.find_many(event_ids) if view.rows else ():
            if row < view.rows:
                found.setdefault(event_id, []).append(row)
    except sqlite3.OperationalError:
        raise  # the file was removed while its day was sealed: the caller takes a new snapshot
    except sqlite3.DatabaseError:
        raise AppiaError(f"The database of {view.day} is damaged: run `appia verify {view.day}`.") from None
    return {event_id: tuple(rows) for event_id, rows in found.items()}


@dataclass(frozen=True)
class Remarks:
    """All remarks at one moment. Never changes; safe for several threads.

    `faults` says in one sentence each what of the log could not be read.
    """

    page: Page = field(default_factory=lambda: Book().page())
    rows: RemarkedRows = field(default_factory=RemarkedRows)
    faults: tuple[str, ...] = ()

    def at(self, count: int) -> Remarks:
        """What was known after the first `count` remarks."""
        return replace(self, page=self.page.book.page(count))

    def select(self, view: SegmentView, wanted: tuple[str, ...]) -> NDArray[np.bool_]:
        """Which rows of a segment analysts spoke about in one of the `wanted` ways (of `FEEDBACK`), bool (rows,).

        Raises:
            AppiaError: the segment's database is damaged.
        """
        verdicts = self.page.verdicts
        spoken, passing = np.zeros((2, view.rows), bool)
        for event_id, rows in self.rows.of(view, self.page).items():
            if event_id in verdicts:
                spoken[list(rows)] = True
                passing[list(rows)] = ANY in wanted or any(one in wanted for one in verdicts[event_id])
        return passing | ~spoken if NONE in wanted else passing

    def show_in(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer with `feedback` beside every event that it shows and that some remark stands on."""
        if not self.page.count:
            return answer
        changed: dict[str, Any] = change_events(answer, self._with_feedback)
        return changed

    def _with_feedback(self, event: dict[str, Any]) -> dict[str, Any]:
        standing = self.page.standing(event["event_id"])
        if not standing:
            return event
        # Of very many the verdicts are what must not be left out; `sorted` keeps the newest first among equals.
        first = sorted(standing, key=lambda entry: entry[1].verdict is None)[:MOST_SHOWN]
        return {
            **event,
            "feedback": [tell(remark) for _, remark in sorted(first, key=lambda entry: -entry[0])],
        }


def tell(remark: Remark) -> dict[str, Any]:
    """A remark as plain fields; `verdict` and `confidence` are None where there is none."""
    return {
        "verdict": remark.verdict,
        "note": remark.note,
        "confidence": remark.confidence,
        "tags": list(remark.tags),
        "analyst": remark.analyst,
        "time": iso_time(remark.time_ns),
    }


class FollowedRemarks:
    """Follows the log of feedback. `poll` is for one thread at a time; `remarks` may be read by any."""

    def __init__(self, state: StateNames, log: FilteringBoundLogger, keys: LogKeys = NO_KEYS) -> None:
        """Read nothing yet."""
        self._follower = FeedbackFollower(state, keys)
        self._log = log
        self.remarks = Remarks()

    def poll(self) -> bool:
        """Read what is new; True when something is."""
        try:
            if not self._follower.poll():
                return False
        except OSError as error:
            self._log.warning("the feedback cannot be listed", error=str(error))
            return False
        for fault in self._follower.faults:
            if fault not in self.remarks.faults:
                self._log.warning("feedback cannot be read", error=fault)
        self.remarks = replace(self.remarks, page=self._follower.page, faults=self._follower.faults)
        return True
