"""Answers `list`: events by time, page after page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.errors import UsageError
from services.common.rpc import NotFound
from services.rag.events import Place, read_events
from services.rag.scope import Scope

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.rag.catalog import Snapshot
    from services.rag.scope import Bounds, Part

_CURSOR = re.compile(r"(-?\d{1,19})/(\d{4}-\d{2}-\d{2})/([a-z]+-\d{1,10})/(\d{1,12})")


@dataclass(frozen=True, order=True)
class _Key:
    """The place of an event in the order of time: of equal times the one in the later segment and row is newer."""

    time_ns: int
    segment: int  # its number in the snapshot
    row: int


def list_events(
    snapshot: Snapshot, bounds: Bounds, *, newest_first: bool = True, after: str | None = None
) -> dict[str, Any]:
    """Up to `bounds.k` events that pass the filters, by time: {"events", "next", "receipt"}.

    Args:
        snapshot: what to look into.
        bounds: which of it.
        newest_first: the order.
        after: the `next` of the page before, where this is not the first; null there means that it was the last.

    Raises:
        UsageError: `after` is no such text.
        NotFound: what it names is not there any more.
        RequestError: the time is over.
    """
    names = {(s.view.day, s.view.name): number for number, s in enumerate(snapshot.segments)}
    order = _Order(newest_first, None if after is None else _read_cursor(after, names))
    scope = Scope(snapshot, bounds)
    found: list[tuple[_Key, Place]] = []
    for part in scope.parts:
        number = names[part.view.day, part.view.name]
        rows = order.rows(part, number, bounds.k + 1)
        times = part.view.columns["time_ns"][rows].tolist()
        found += [
            (_Key(time_ns, number, row), Place(part.view, row))
            for time_ns, row in zip(times, rows.tolist(), strict=True)
        ]
    found.sort(key=lambda one: one[0], reverse=newest_first)
    page = found[: bounds.k]
    more = len(found) > bounds.k
    return {
        "events": read_events([place for _, place in page]),
        "next": _cursor(page[-1][1]) if more else None,
        "receipt": scope.receipt(),
    }


def _cursor(place: Place) -> str:
    return f"{place.time_ns}/{place.view.day}/{place.view.name}/{place.row}"


def _read_cursor(text: str, names: dict[tuple[str, str], int]) -> _Key:
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise UsageError(f"The argument 'after' must be the 'next' of a list, not {text[:80]!r}.")
    number = names.get((match[2], match[3]))
    if number is None:
        raise NotFound(
            f"The list cannot be gone on with: {match[2]} was sealed meanwhile. Begin it anew, and give the 'as_of' of "
            "its first page with every further one."
        )
    return _Key(int(match[1]), number, int(match[4]))


@dataclass(frozen=True)
class _Order:
    """The order of a list, and the event that was listed last; None before the first."""

    newest_first: bool
    last: _Key | None

    def rows(self, part: Part, number: int, limit: int) -> NDArray[np.int64]:
        """The rows of the segment with a number that come next, int64, ascending, at most `limit`."""
        rows = np.arange(part.view.rows, dtype=np.int64) if part.rows is None else part.rows
        return self._soonest(
            part, rows if self.last is None else self._behind(part, rows, number, self.last), limit
        )

    def _behind(self, part: Part, rows: NDArray[np.int64], number: int, last: _Key) -> NDArray[np.int64]:
        times = np.asarray(part.view.columns["time_ns"][rows], np.int64)
        same = times == last.time_ns
        # Among equal times: whole segments, and in its own the rows on the far side of it.
        if self.newest_first:
            beyond = (
                (rows < last.row) if number == last.segment else np.full(len(rows), number < last.segment)
            )
            return np.asarray(rows[(times < last.time_ns) | (same & beyond)], np.int64)
        beyond = (rows > last.row) if number == last.segment else np.full(len(rows), number > last.segment)
        return np.asarray(rows[(times > last.time_ns) | (same & beyond)], np.int64)

    def _soonest(self, part: Part, rows: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
        if len(rows) <= limit:
            return rows
        if part.view.sealed:  # its rows are sorted by time
            return rows[-limit:] if self.newest_first else rows[:limit]
        times = np.asarray(part.view.columns["time_ns"][rows], np.int64)
        if self.newest_first:
            return np.sort(_soonest(rows[::-1], -times[::-1], limit))
        return _soonest(rows, times, limit)


def _soonest(rows: NDArray[np.int64], times: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """The `limit` rows with the lowest times, of equal ones the first, in the order given."""
    most = np.partition(times, limit - 1)[limit - 1]
    sooner = times < most
    sooner[np.flatnonzero(times == most)[: limit - int(np.count_nonzero(sooner))]] = True
    found: NDArray[np.int64] = rows[sooner]
    return found
