"""Answers `feedback`: what analysts said, the newest first, and of which events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.rag.events import Place, find_event, read_events
from services.rag.feedback import tell
from services.rag.filters import Filters
from services.rag.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.common.feedback.book import Page
    from services.common.feedback.remark import Remark
    from services.rag.catalog import Snapshot
    from services.rag.scope import Bounds, Part

    Entry = tuple[int, Remark]

_TOLD = (
    "time",
    "src_ip",
    "src_port",
    "dst_ip",
    "dst_port",
    "protocol",
    "class",
    "category",
    "label",
    "overall",
)
"""Of each event; `get` has the rest."""


def list_remarks(snapshot: Snapshot, event_id: str | None, bounds: Bounds) -> dict[str, Any]:
    """Up to `bounds.k` remarks, on one event or on all that pass the filters: {"remarks", "faults", "receipt"}.

    Without filters also those on events that are not there any more, with `event` None; not for one that may not see
    all days, to whom events of other days look the same.

    Raises:
        NotFound: there is neither such an event nor a remark on it.
        RequestError: the deadline has passed.
    """
    page = snapshot.remarks.page
    entries: Iterable[Entry] = page.newest_first()
    if event_id is not None:
        entries = reversed(page.of(event_id))
        if snapshot.days_are_limited or not page.of(event_id):
            find_event(snapshot, event_id)
    scope = Scope(snapshot, bounds)
    places = _places(scope, snapshot)
    everything = bounds.filters == Filters() and not snapshot.days_are_limited
    chosen = _first(entries, None if everything else places, bounds.k)
    return {
        "remarks": _show(chosen, page, places),
        "faults": list(snapshot.remarks.faults),
        "receipt": scope.receipt(),
    }


def _first(entries: Iterable[Entry], places: dict[str, Place] | None, limit: int) -> list[Entry]:
    """The first remarks on events that have a place; on any where `places` is None."""
    found: list[Entry] = []
    for entry in entries:
        if len(found) == limit:
            break
        if places is None or entry[1].event_id in places:
            found.append(entry)
    return found


def _places(scope: Scope, snapshot: Snapshot) -> dict[str, Place]:
    """Where the events that somebody spoke about lie; of several with one id, the one of the latest day."""
    places: dict[str, Place] = {}
    for part in scope.parts:
        for event_id, rows in snapshot.remarks.rows.of(part.view, snapshot.remarks.page).items():
            passing = [row for row in rows if _passes(part, row)]
            if passing:
                places[event_id] = Place(part.view, passing[-1])
    return places


def _passes(part: Part, row: int) -> bool:
    if part.rows is None:
        return True
    at = int(np.searchsorted(part.rows, row))
    return at < len(part.rows) and int(part.rows[at]) == row


def _show(entries: Sequence[Entry], page: Page, places: dict[str, Place]) -> list[dict[str, Any]]:
    event_ids = [
        event_id for event_id in dict.fromkeys(one.event_id for _, one in entries) if event_id in places
    ]
    events = dict(zip(event_ids, read_events([places[one] for one in event_ids]), strict=True))
    standing = {number for _, one in entries for number, _ in page.standing(one.event_id)}
    return [
        {
            "feedback_id": remark.feedback_id,
            "event_id": remark.event_id,
            **tell(remark),
            "withdraws": remark.is_withdrawal,
            "stands": number in standing,
            "event": {key: events[remark.event_id][key] for key in _TOLD}
            if remark.event_id in events
            else None,
        }
        for number, remark in entries
    ]
