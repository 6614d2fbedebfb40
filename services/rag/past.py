"""Finds again what an `as_of` names: files of generations and versions that no longer serve, rows as far as they went.

What the newest snapshot shows in the same way is taken from there; only what has changed is opened anew. That stays
open for the few `as_of` that were asked for last, so that the next question about one of them does not wait.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from services.common.days.names import number_name
from services.common.days.open_reader import cut_back
from services.common.days.opening import PLAIN
from services.common.days.sealed_reader import SealedReader
from services.common.errors import AppiaError
from services.common.rpc import NotFound, RequestError
from services.rag.as_of import check_of, read_moment
from services.rag.day_files import UNREADABLE
from services.rag.segments import Segment, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.common.days.names import StateNames
    from services.common.days.opening import Opening
    from services.common.rpc import Deadline
    from services.rag.as_of import DayPart, Moment, OpenPart
    from services.rag.decisions import Decisions

KEPT_MOMENTS = 4
"""The `as_of` for which files that no longer serve stay open after a question, each for so many seconds:"""
KEPT_S = 60.0

_Key = tuple[str, int, tuple[tuple[str, int], ...]]  # day, generation, versions
_Current = dict[tuple[str, str], Segment]  # by day and name of the segment


class NotVisibleYet(RequestError):  # noqa: N818 - it names a state of the world, not a fault
    """Rows were seen by another replica, and by this one not yet."""

    def __init__(self, day: str) -> None:
        super().__init__(
            "unavailable",
            f"This replica does not see all of {day} yet that 'as_of' names: ask again in a moment.",
        )


@dataclass(frozen=True)
class Past:
    """The segments of a moment; another number for another set of them, below 0."""

    number: int
    segments: tuple[Segment, ...]
    remarks: int = 0  # how many remarks of analysts there were
    decisions: tuple[int, int] = (0, 0)  # of firewalls: the first that was kept, the next after the last


@dataclass
class _Held:
    """What is kept for one `as_of`."""

    moment: Moment
    keys: set[_Key] = field(default_factory=set)
    cut: dict[tuple[str, int], Segment] = field(default_factory=dict)
    past: Past = field(default_factory=lambda: Past(0, ()))
    users: int = 0
    idle_at: float = 0.0  # when the last question about it ended, seconds of the monotonic clock


class PastSegments:
    """Segments as they were. Safe for several threads; one at a time opens files, the others wait for it."""

    def __init__(self, state: StateNames, opening: Opening = PLAIN) -> None:
        """Open nothing yet."""
        self._state = state
        self._gates = opening
        self._lock = threading.Lock()  # guards what follows
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._readers: dict[_Key, tuple[SealedReader, Segment]] = {}
        self._opening = threading.Lock()  # held while files are opened, and to number what was found
        self._number = 0

    @contextmanager
    def lease(self, text: str, current: Sequence[Segment], deadline: Deadline) -> Iterator[Past]:
        """The segments that the `as_of` in `text` names; their files stay open until the block is left.

        Args:
            text: an `as_of`.
            current: the newest segments, which stay open as long.
            deadline: of the question. Blocks for reading files whole that no longer serve, about a second for 500 MB;
                what was opened before it passed is there for the next question.

        Raises:
            UsageError: the text is no `as_of`.
            NotFound: something of it is gone.
            NotVisibleYet: something of it is not here yet.
            AppiaError: something of it is damaged.
            RequestError: the deadline has passed.
        """
        held = self._hold(text)
        try:
            yield self._find(held, current, deadline)
        finally:
            self._release(held)

    def rest(self) -> None:
        """Close what was not asked about for a while: a day that is to be deleted goes only when nobody reads it."""
        long_ago = time.monotonic() - KEPT_S
        with self._lock:
            for text in [t for t, one in self._held.items() if not one.users and one.idle_at <= long_ago]:
                del self._held[text]
            self._close_unused()

    def close(self) -> None:
        """Close all files; no question may be running."""
        with self._lock:
            self._held.clear()
            self._close_unused()

    def _hold(self, text: str) -> _Held:
        moment = replace(read_moment(text), now=None)
        name = moment.to_text()
        with self._lock:
            held = self._held.setdefault(name, _Held(moment))
            self._held.move_to_end(name)
            held.users += 1
            return held

    def _release(self, held: _Held) -> None:
        with self._lock:
            held.users -= 1
            held.idle_at = time.monotonic()
            idle = [text for text, one in self._held.items() if not one.users]
            for text in idle[: max(len(self._held) - KEPT_MOMENTS, 0)]:
                del self._held[text]
            self._close_unused()

    def _close_unused(self) -> None:
        """Close readers that no `as_of` needs any more; `_lock` is held."""
        needed = {key for held in self._held.values() for key in held.keys}
        for key in self._readers.keys() - needed:
            reader, _ = self._readers.pop(key)
            reader.close()

    def _find(self, held: _Held, current: Sequence[Segment], deadline: Deadline) -> Past:
        at = {(segment.view.day, segment.view.name): segment for segment in current}
        while not self._opening.acquire(timeout=_left_s(deadline)):
            deadline.check()
        try:
            segments: list[Segment] = []
            for part in held.moment.days:
                deadline.check()
                if part.generation:
                    segments.append(self._sealed(held, part, at))
                segments += [self._open(held, part.day, one, at) for one in part.segments]
            _compare(held.moment, segments)
            return self._numbered(held, tuple(segments))
        finally:
            self._opening.release()

    def _numbered(self, held: _Held, segments: tuple[Segment, ...]) -> Past:
        """The same object as long as the segments are the same."""
        if not held.past.number or list(map(id, held.past.segments)) != list(map(id, segments)):
            self._number -= 1
            held.past = Past(self._number, segments, held.moment.remarks, held.moment.decisions)
        return held.past

    def _sealed(self, held: _Held, part: DayPart, at: _Current) -> Segment:
        served = at.get((part.day, f"sealed-{number_name(part.generation)}"))
        if served is not None and served.view.versions == part.versions and not served.view.damaged:
            return served
        if not self._state.day(part.day).current.exists():
            raise NotFound(f"The day {part.day}, which 'as_of' names, was dropped: leave 'as_of' out.")
        key = (part.day, part.generation, tuple(part.versions.items()))
        with self._lock:
            known = self._readers.get(key)
            held.keys.add(key)
        if known is None:
            known = self._reopen(part)
            with self._lock:
                self._readers[key] = known
        return known[1]

    def _reopen(self, part: DayPart) -> tuple[SealedReader, Segment]:
        names = self._state.day(part.day).generation(part.generation)
        folders = [names.chunk, *(names.index_version(name, n) for name, n in part.versions.items())]
        try:
            with ExitStack() as opened:
                reader = opened.enter_context(
                    closing(SealedReader(part.day, names, part.versions, self._gates))
                )
                segment = _whole(reader)
                opened.pop_all()
                return reader, segment
        except UNREADABLE as error:
            if all(folder.is_dir() for folder in folders):
                raise AppiaError(f"What 'as_of' names of {part.day} cannot be read: {error}") from None
            raise _gone_generation(part) from None

    def _open(self, held: _Held, day: str, part: OpenPart, at: _Current) -> Segment:
        segment = at.get((day, f"open-{number_name(part.number)}"))
        if segment is None:
            if self._state.day(day).segment(part.number).folder.is_dir():
                raise NotVisibleYet(day)
            raise NotFound(
                f"Segment {part.number} of {day} is no longer open: its {part.rows} rows are sealed, in another order, "
                "so an 'as_of' from before cannot be asked again; leave it out."
            )
        cut = held.cut.get((day, part.number))
        if cut is not None and cut.view.events is segment.view.events:
            if cut.view is not segment.view and cut.tables is segment.tables:
                cut = held.cut[day, part.number] = Segment(
                    cut.view, cut.tally
                )  # those tables are of more rows now
            return cut
        try:
            view = cut_back(segment.view, part.rows, part.written)
        except ValueError:
            raise NotVisibleYet(day) from None
        cut = segment if view is segment.view else Segment(view, Tally().grown(view))
        held.cut[day, part.number] = cut
        return cut


def then(decisions: Decisions, numbers: tuple[int, int]) -> Decisions:
    """The decisions of firewalls with these numbers, of which the second is excluded.

    Raises:
        NotFound: some were removed, the oldest first.
        NotVisibleYet: some did not come here yet.
    """
    first, end = numbers
    page = decisions.page
    if end > page.end:
        raise NotVisibleYet("the decisions of firewalls")
    if first < end and first < page.first:
        raise NotFound(
            f"Decisions of firewalls that 'as_of' names were removed, those before number {page.first}: leave it out."
        )
    return decisions.between(first, end)


def _left_s(deadline: Deadline) -> float:
    """Seconds until a deadline, as far as a lock can wait."""
    return min(max(deadline.at - time.monotonic(), 0), threading.TIMEOUT_MAX)


def _whole(reader: SealedReader) -> Segment:
    """What a reader shows, where nothing of it is damaged."""
    view = reader.view()
    if view.damaged:
        raise AppiaError("; ".join(view.missing[name] for name in sorted(view.damaged)))
    view.events.find("")  # opens a connection, which outlives the file when the generation is retired
    return Segment(view, Tally().grown(view))


def _compare(moment: Moment, segments: Sequence[Segment]) -> None:
    """Refuse what has the same numbers and another content.

    Raises:
        NotFound: it is so.
    """
    if moment.check not in {None, check_of(segment.view for segment in segments)}:
        raise NotFound(
            "What 'as_of' names is not there as it was: an index of an open day was written anew, a day was replaced, "
            "or its text was changed."
        )


def _gone_generation(part: DayPart) -> NotFound:
    return NotFound(
        f"Generation {part.generation} of {part.day}, or a version of its indices that 'as_of' names, is no longer "
        "here: one before the served one is kept; leave 'as_of' out."
    )
