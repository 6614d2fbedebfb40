"""Follows a state directory that another process writes, and gives queries one consistent picture of it.

refresher thread: lists days, opens and checks new generations --+
query: reads the counters of open segments (at most every 50 ms) +--> Snapshot, replaced as a whole
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from services.common.days.layout import check_layout
from services.common.days.opening import PLAIN
from services.common.days.together import TogetherBook
from services.rag.as_of import Moment
from services.rag.day_files import DayFiles, look_at_day
from services.rag.decisions import Decisions, FollowedDecisions
from services.rag.feedback import FollowedRemarks, Remarks
from services.rag.held import FollowedHeld
from services.rag.past import NotVisibleYet, PastSegments, then

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import FilteringBoundLogger

    from services.common.days.names import StateNames
    from services.common.days.open_reader import OpenSegmentReader
    from services.common.days.opening import Opening
    from services.common.days.sealed_reader import SealedReader
    from services.common.days.together import Together
    from services.common.rpc import Deadline
    from services.rag.segments import Segment

POLL_S = 0.05
SCAN_S = 0.1
# Looking may take this share of a core at most, so with very many days it happens less often, but not rarer than this.
_SHARE = 0.03
_LONGEST_S = 2.0
_OPENING_THREADS = 2
_PAST_LOOKS = 20
BEING_OPENED = "its files are still being checked"


@dataclass(frozen=True)
class Snapshot:
    """Everything that can be searched at one moment. Immutable; safe for several threads.

    Segments are ordered by day, the sealed one of a day first. `faults` are pairs of a day and the reason why it, or a
    part of it, cannot be read; `not_held` are such pairs for days that a mirror's copy does not hold.
    """

    number: int = 0
    segments: tuple[Segment, ...] = ()
    faults: tuple[tuple[str, str], ...] = ()
    not_held: tuple[tuple[str, str], ...] = ()
    remarks: Remarks = field(default_factory=Remarks)
    decisions: Decisions = field(default_factory=Decisions)
    book: TogetherBook = field(default_factory=TogetherBook)
    days_are_limited: bool = False  # to those that one that asks may see

    def together(self, index: str, model_id: str) -> Together:
        """An index of all sealed days that are of one model, at least one of which can be covered."""
        found = [s.view.indices[index] for s in self.segments if s.view.sealed and index in s.view.indices]
        return self.book.of([one for one in found if one.spec.model_id == model_id and one.cover is not None])

    @property
    def rows(self) -> int:
        """Events that can be searched."""
        return sum(segment.view.rows for segment in self.segments)

    @property
    def is_past(self) -> bool:
        """Whether it was found again by an `as_of`."""
        return self.number < 0

    @cached_property
    def as_of(self) -> str:
        """Names exactly what this shows, apart from faults; `Catalog.lease_past` gives it again."""
        views = [segment.named for segment in self.segments]
        decided = self.decisions.page
        return Moment.of(views, self.remarks.page.count, (decided.first, decided.end)).to_text()


class Catalog:
    """The days of a state directory, kept current from `start` to `stop`. Safe for several threads."""

    def __init__(self, state: StateNames, log: FilteringBoundLogger, opening: Opening = PLAIN) -> None:
        """Check the state directory; open nothing yet.

        Args:
            state: the directory.
            log: what goes wrong is told to it.
            opening: how the files of days are opened.

        Raises:
            AppiaError: it is absent, damaged or of a newer release.
        """
        check_layout(state)
        self._state = state
        self._log = log
        self._trials = opening.trials
        self._new_day = partial(DayFiles, opening=opening)
        self._lock = threading.Lock()  # guards what follows
        self._days: dict[str, DayFiles] = {}
        self._book = TogetherBook()
        self._snapshot = Snapshot(book=self._book)
        self._users: Counter[int] = Counter()
        self._retired: list[tuple[int, SealedReader | OpenSegmentReader]] = []
        self._past = PastSegments(state, opening)
        self._feedback = FollowedRemarks(state, log, opening.keys)
        self._firewalls = FollowedDecisions(state, log, opening.keys)
        self._held = FollowedHeld(state, log)
        self._polling = threading.Lock()
        self._next_poll = 0.0
        self._stopping = threading.Event()
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="catalog")

    def start(self) -> None:
        """Begin to open the days, newest first, in the background; does not block."""
        self._thread.start()

    def wait_opened(self, timeout_s: float) -> bool:
        """Block until every day there was at the start has been looked at; False when that takes longer."""
        return self._opened.wait(timeout_s)

    @property
    def is_followed(self) -> bool:
        """Whether changes are seen: not before `start`, nor when the thread that does it has failed."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the background thread and close all files; no query may be running."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._past.close()
        self._trials.rest()
        with self._lock:
            for day in self._days.values():
                for reader in day.readers():
                    reader.close()
            for _, reader in self._retired:
                reader.close()
            self._days, self._retired, self._snapshot = {}, [], Snapshot()

    @contextmanager
    def lease(self) -> Iterator[Snapshot]:
        """The current snapshot; its files stay open until the block is left."""
        self._poll_open()
        with self._lock:
            snapshot = self._snapshot
            self._users[snapshot.number] += 1
        try:
            yield snapshot
        finally:
            with self._lock:
                self._users[snapshot.number] -= 1
                self._close_unused()

    @contextmanager
    def lease_past(self, as_of: str, deadline: Deadline) -> Iterator[Snapshot]:
        """What the `as_of` of a receipt names; its files stay open until the block is left.

        Waits a second for rows that another replica has seen already. Blocks and raises as `PastSegments.lease`.
        """
        for look in range(_PAST_LOOKS):
            with ExitStack() as held:
                current = held.enter_context(self.lease())
                try:
                    past = held.enter_context(self._past.lease(as_of, current.segments, deadline))
                    remarks = current.remarks.at(past.remarks)
                    if remarks.page.count < past.remarks:
                        raise NotVisibleYet("the remarks of analysts")  # noqa: TRY301 - as where rows are missing
                    decisions = then(current.decisions, past.decisions)
                except NotVisibleYet:
                    if look == _PAST_LOOKS - 1:
                        raise
                else:
                    yield Snapshot(
                        past.number, past.segments, remarks=remarks, decisions=decisions, book=self._book
                    )
                    return
            deadline.check()
            time.sleep(POLL_S)

    def _follow(self) -> None:
        self._open_first()
        self._trials.rest()
        self._opened.set()
        wait_s = SCAN_S
        while not self._stopping.wait(wait_s):
            started = time.thread_time()
            has_changed = self._scan()
            self._trials.rest()
            self._past.rest()
            self._poll_open()
            # Where something was opened, the time went into that and says nothing about looking.
            wait_s = SCAN_S if has_changed else _pause(time.thread_time() - started, SCAN_S)

    def _open_first(self) -> None:
        """Open all days by two threads; each can be searched as soon as it is open."""
        with self._polling:
            self._feedback.poll()
            self._firewalls.poll()
            self._held.poll()
        names = [self._state.day(day) for day in reversed(self._state.days())]
        with self._lock:
            self._days = {day.day: self._new_day(day, fault=BEING_OPENED) for day in names}
            self._publish()
        with ThreadPoolExecutor(_OPENING_THREADS, "open-days") as pool:
            list(pool.map(self._look, [day.day for day in names]))

    def _scan(self) -> bool:
        """Look at all days; whether any is another than before."""
        try:
            listed = self._state.days()
        except OSError as error:
            self._log.warning("the days cannot be listed", error=str(error))
            return False
        has_changed = False
        for day in sorted(set(self._days) | set(listed), reverse=True):
            if day in listed:
                has_changed |= self._look(day)
            else:
                self._replace(day, None)
        return has_changed

    def _look(self, day: str) -> bool:
        """Look at one day; whether it is another than before."""
        if self._stopping.is_set():
            return False
        known = self._days.get(day, self._new_day(self._state.day(day)))
        try:
            found = look_at_day(known, time.monotonic())
        except OSError as error:
            self._log.warning("a day cannot be looked at", day=day, error=str(error))
            return False
        if found is known and day in self._days:
            return False
        self._replace(day, found)
        return True

    def _replace(self, day: str, found: DayFiles | None) -> None:
        with self._lock:
            before = self._days.pop(day, None)
            if found is not None:
                self._days[day] = found
            self._publish()
            kept = set() if found is None else found.readers()
            dropped = set() if before is None else before.readers() - kept
            self._retired += [(self._snapshot.number, reader) for reader in dropped]
            self._close_unused()
        if found is not None and found.fault is not None and (before is None or before.fault != found.fault):
            self._log.warning("a day cannot be read", day=day, error=found.fault)
        known = {} if before is None else before.damaged_indices
        for name, fault in ({} if found is None else found.damaged_indices).items():
            if known.get(name) != fault:
                self._log.warning("an index cannot be used", day=day, index=name, error=fault)

    def _poll_open(self) -> None:
        """Look at the counters of open segments, unless that was done just now or is being done."""
        if time.monotonic() < self._next_poll or not self._polling.acquire(blocking=False):
            return
        started = time.thread_time()
        try:
            with self._lock:
                followers = [follower for day in self._days.values() for follower in day.followers]
            # Every follower has to be asked, so no `any` over a generator here.
            if any(
                [
                    self._feedback.poll(),
                    self._firewalls.poll(),
                    self._held.poll(),
                    *(follower.poll() for follower in followers),
                ]
            ):
                with self._lock:
                    self._publish()
            self._next_poll = time.monotonic() + _pause(time.thread_time() - started, POLL_S)
        finally:
            self._polling.release()

    def _publish(self) -> None:
        """Make a new snapshot; `_lock` is held."""
        days = [self._days[day] for day in sorted(self._days)]
        self._snapshot = Snapshot(
            number=self._snapshot.number + 1,
            segments=tuple(segment for day in days for segment in day.segments()),
            faults=tuple((day.names.day, fault) for day in days for fault in day.faults()),
            not_held=self._held.not_held,
            remarks=self._feedback.remarks,
            decisions=self._firewalls.decisions,
            book=self._book,
        )

    def _close_unused(self) -> None:
        """Close readers that no snapshot in use shows any more; `_lock` is held."""
        self._users = +self._users
        oldest = min(self._users, default=self._snapshot.number)
        for number, reader in self._retired:
            if number <= oldest:
                reader.close()
        self._retired = [(number, reader) for number, reader in self._retired if number > oldest]


def _pause(took_s: float, least_s: float) -> float:
    """How long to wait after a look that took so many seconds of a core."""
    return min(max(least_s, took_s / _SHARE), _LONGEST_S)
