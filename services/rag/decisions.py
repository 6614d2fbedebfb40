"""What firewalls decided, as answers use it: beside events, and as a filter of rows."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from services.common.days.columns import pack_address
from services.common.days.names import NS_PER_DAY, day_start_ns
from services.common.decisions.book import Page
from services.common.decisions.decision import KINDS, Effect
from services.common.decisions.follower import DecisionFollower
from services.common.rest.storage_keys import NO_KEYS
from services.rag.arguments import parse_time
from services.rag.blocked import (
    AROUND_NS,
    BEFORE_NS,
    US,
    Blocked,
    covered_rows,
    deciding,
    ends_of,
    traits_of,
    whole_us,
)
from services.rag.scope import iso_time
from services.rag.shown import change_events

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from structlog.typing import FilteringBoundLogger

    from services.common.days.names import StateNames
    from services.common.days.view import EventStore, SegmentView
    from services.common.decisions.book import Spans
    from services.common.rest.log_keys import LogKeys

    Rows = NDArray[np.int64]

_SIDES = {"src_ip": "source", "dst_ip": "destination"}


@dataclass(frozen=True)
class _Known:
    """Which of the first `rows` rows of a segment the decisions about its day, from `first` to `last`, stand for."""

    rows: int
    first: int
    last: int
    blocked: Rows
    unsaid: Rows


class DecidedRows:
    """Which rows of each segment decisions stand for. Safe for several threads; kept as long as the segment's files.

    A decision about today says nothing about the days before, whose rows are not looked at again then.
    """

    def __init__(self) -> None:
        """Know of none."""
        self._lock = threading.Lock()
        self._known: WeakKeyDictionary[EventStore, _Known] = WeakKeyDictionary()

    def of(self, view: SegmentView, page: Page) -> tuple[Rows, Rows]:
        """The rows that a block stands for, and those that a decision without an action does, int64."""
        begin = day_start_ns(view.day)
        first, last = page.numbers_about(begin - US, begin + NS_PER_DAY + BEFORE_NS + US)
        with self._lock:
            known = self._known.get(view.events)
        if known is None or (known.rows, known.first, known.last) != (view.rows, first, last):
            blocked, unsaid = covered_rows(page, view, (Effect.BLOCKS, Effect.UNSAID))
            known = _Known(view.rows, first, last, blocked, unsaid)
            with self._lock:
                self._known[view.events] = known
        return known.blocked, known.unsaid


@dataclass(frozen=True)
class Decisions:
    """All decisions at one moment. Never changes; safe for several threads.

    `faults` says in one sentence each what of the log could not be read.
    """

    page: Page = field(default_factory=Page)
    rows: DecidedRows = field(default_factory=DecidedRows)
    faults: tuple[str, ...] = ()

    def between(self, first: int, end: int) -> Decisions:
        """What was known when there were only the decisions numbered from `first` up to `end`."""
        return replace(self, page=self.page.between(first, end))

    @cached_property
    def _reported(self) -> Spans:
        return self.page.around(AROUND_NS)

    def select(self, view: SegmentView, wanted: tuple[str, ...]) -> NDArray[np.bool_]:
        """Which rows of a segment are blocked in one of the `wanted` ways (of `Blocked`), bool (rows,)."""
        if not len(self.page):
            return np.full(view.rows, Blocked.UNKNOWN in wanted)
        blocked, unsaid = self.rows.of(view, self.page)
        passing = np.zeros(view.rows, bool)
        if {Blocked.NO, Blocked.UNKNOWN} & set(wanted):
            times = whole_us(np.asarray(view.columns["time_ns"][: view.rows], np.int64))
            reported = self._reported.hold(times)
            reported[unsaid] = False
            passing |= reported if Blocked.NO in wanted else False
            passing |= ~reported if Blocked.UNKNOWN in wanted else False
        passing[blocked] = Blocked.YES in wanted
        return passing

    def show_in(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer with `blocked` beside every event that it shows, and the `decision` that stands for it.

        Without any decision nothing is added.
        """
        if not len(self.page):
            return answer
        by_address: dict[str, NDArray[np.void]] = {}  # many events of an answer have the same
        changed: dict[str, Any] = change_events(answer, lambda event: self._with_decision(event, by_address))
        return changed

    def _with_decision(
        self, event: dict[str, Any], by_address: dict[str, NDArray[np.void]]
    ) -> dict[str, Any]:
        for address in (event[side] for side in _SIDES):
            if address not in by_address:
                by_address[address] = self.page.of(pack_address(address))
        time_ns = parse_time("time", event["time"])
        traits = traits_of(event["class"], event["category"])
        for effect, state in ((Effect.BLOCKS, Blocked.YES), (Effect.UNSAID, Blocked.UNKNOWN)):
            for side, name in _SIDES.items():
                found = by_address[event[side]]
                at = deciding(found, effect, time_ns, traits) if len(found) else None
                if at is not None:
                    told = {"address": event[side], "side": name, **self._tell(found, at, time_ns)}
                    return {**event, "blocked": state, "decision": told}
        reported = self._reported.hold(np.array([time_ns], np.int64))[0]
        return {**event, "blocked": Blocked.NO if reported else Blocked.UNKNOWN}

    def _tell(self, found: NDArray[np.void], at: int, time_ns: int) -> dict[str, Any]:
        """A decision as plain fields; `after_s` is how long after the event it was taken, below 0 for before."""
        one, words = found[at], self.page.words[found["words"][at]]
        decided_ns, end_ns = int(one["time_ns"]), int(ends_of(found)[at])
        return {
            "time": iso_time(decided_ns),
            "after_s": (whole_us(decided_ns) - time_ns) / 1e9,
            "until": iso_time(end_ns),
            "lasts_s": round((end_ns - decided_ns) / 1e9, 3),
            "end_is_assumed": not words.names_duration and end_ns == int(one["until_ns"]),
            "action": words.action,
            "kind": KINDS[int(one["kind"])],
            "confidence": round(float(one["confidence"]), 6) or None,
            "reason": words.reason,
            "reported_by": words.origin,
        }


class FollowedDecisions:
    """Follows the log of decisions. `poll` is for one thread at a time; `decisions` may be read by any."""

    def __init__(self, state: StateNames, log: FilteringBoundLogger, keys: LogKeys = NO_KEYS) -> None:
        """Read nothing yet."""
        self._follower = DecisionFollower(state, keys)
        self._log = log
        self.decisions = Decisions()

    def poll(self) -> bool:
        """Read what is new; True when something is."""
        try:
            if not self._follower.poll():
                return False
        except OSError as error:
            self._log.warning("the decisions of firewalls cannot be listed", error=str(error))
            return False
        for fault in self._follower.faults:
            if fault not in self.decisions.faults:
                self._log.warning("decisions of firewalls cannot be read", error=fault)
        self.decisions = replace(self.decisions, page=self._follower.page, faults=self._follower.faults)
        return True
