"""Answers `get`, `list`, `days` and `stats`: what is there, without any search."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.names import EVENT_INDICES
from services.rag.events import Place, find_event, read_events, whole_event
from services.rag.scope import Scope, iso_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from services.rag.catalog import Snapshot
    from services.rag.scope import Bounds, Part
    from services.rag.segments import Segment

_TOTALS = {"class": "classes", "category": "categories", "node": "nodes"}


def get_event(snapshot: Snapshot, event_id: str) -> dict[str, Any]:
    """One event whole: {"event": all its fields, "fields": what the indices use, "day", "segment", "row"}.

    Raises:
        NotFound: there is no such event.
        AppiaError: its bytes are damaged.
    """
    place = find_event(snapshot, event_id)
    fields = read_events([place])[0]
    where = {key: fields.pop(key) for key in ("day", "segment", "row")}
    return {"event": whole_event(place), "fields": fields, **where}


def list_events(snapshot: Snapshot, bounds: Bounds, *, newest_first: bool = True) -> dict[str, Any]:
    """Up to `bounds.k` events that pass the filters, by time: {"events", "receipt"}.

    Raises:
        RequestError: the time is over.
    """
    scope = Scope(snapshot, bounds)
    candidates: list[tuple[int, Place]] = []
    for part in scope.parts:
        rows = _first_rows(part, bounds.k, newest_first=newest_first)
        times = part.view.columns["time_ns"][rows].tolist()
        pairs = zip(times, rows.tolist(), strict=True)
        candidates += [(time_ns, Place(part.view, row)) for time_ns, row in pairs]
    # Of equal times the one that lies later is newer. Sorting keeps the order of equal ones, also in reverse.
    if newest_first:
        candidates.reverse()
    candidates.sort(key=lambda candidate: candidate[0], reverse=newest_first)
    events = read_events([place for _, place in candidates[: bounds.k]])
    return {"events": events, "receipt": scope.receipt()}


def _first_rows(part: Part, limit: int, *, newest_first: bool) -> NDArray[np.int64]:
    """The rows of a part that come first by time, at most `limit`, ascending; of equal times the later row is newer."""
    view = part.view
    rows = np.arange(view.rows, dtype=np.int64) if part.rows is None else part.rows
    if len(rows) <= limit:
        return rows
    if view.sealed:  # its rows are sorted by time
        return rows[-limit:] if newest_first else rows[:limit]
    times = np.asarray(view.columns["time_ns"][rows], np.int64)
    if newest_first:
        return np.sort(_soonest(rows[::-1], -times[::-1], limit))
    return _soonest(rows, times, limit)


def _soonest(rows: NDArray[np.int64], times: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """The `limit` rows with the lowest times, of equal ones the first, in the order given."""
    most = np.partition(times, limit - 1)[limit - 1]
    sooner = times < most
    sooner[np.flatnonzero(times == most)[: limit - int(np.count_nonzero(sooner))]] = True
    found: NDArray[np.int64] = rows[sooner]
    return found


def describe_days(snapshot: Snapshot) -> dict[str, Any]:
    """Which days there are, whether open or sealed, and what each index of them holds: {"days": [...]}."""
    segments: dict[str, list[Segment]] = {}
    faults: dict[str, list[str]] = {}
    for segment in snapshot.segments:
        segments.setdefault(segment.view.day, []).append(segment)
    for day, reason in snapshot.faults:
        faults.setdefault(day, []).append(reason)
    days = sorted({*segments, *faults})
    return {"days": [_describe_day(day, segments.get(day, []), faults.get(day, [])) for day in days]}


def _describe_day(day: str, segments: list[Segment], faults: list[str]) -> dict[str, Any]:
    kinds = ["sealed"] if any(segment.view.sealed for segment in segments) else []
    kinds += ["open"] if any(not segment.view.sealed and segment.view.rows for segment in segments) else []
    state = "+".join(kinds) if kinds else "damaged" if faults else "open"
    return {
        "day": day,
        "state": state,
        "rows": sum(segment.view.rows for segment in segments),
        "indices": {name: _describe_index(name, segments) for name in EVENT_INDICES},
        "hosts": _describe_hosts(segments),
        "faults": faults,
    }


def _describe_index(name: str, segments: Iterable[Segment]) -> dict[str, Any]:
    present = [(s.view, s.view.indices[name]) for s in segments if name in s.view.indices]
    return {
        "rows": sum(index.rows - index.left_out for _, index in present),
        "generation": max((view.generation for view, _ in present), default=0),
        "model": present[-1][1].spec.model_id if present else None,
    }


def _describe_hosts(segments: Iterable[Segment]) -> dict[str, Any] | None:
    """The sealed index of hosts; None where there is none: those of open segments are found when somebody asks."""
    for segment in segments:
        found = segment.view.hosts
        if found is not None:
            return {
                "rows": len(found.hosts),
                "generation": segment.view.generation,
                "model": found.vectors.spec.model_id,
            }
    return None


def count_events(snapshot: Snapshot) -> dict[str, Any]:
    """How many events there are by class, category, node and day, and from when to when; hosts of sealed days."""
    filled = [segment for segment in snapshot.segments if segment.view.rows]
    days: Counter[str] = Counter()
    for segment in filled:
        days[segment.view.day] += segment.view.rows
    return {
        "rows": snapshot.rows,
        "first_event": iso_time(min(s.tally.first_ns for s in filled)) if filled else None,
        "last_event": iso_time(max(s.tally.last_ns for s in filled)) if filled else None,
        "days": dict(sorted(days.items())),
        "hosts": {
            segment.view.day: len(segment.view.hosts.hosts) for segment in filled if segment.view.hosts
        },
        **{title: _total(column, filled) for column, title in _TOTALS.items()},
    }


def _total(column: str, segments: Iterable[Segment]) -> dict[str, int]:
    """The number of rows by the text in a column, the most frequent first."""
    total: Counter[str] = Counter()
    for segment in segments:
        counts = segment.tally.counts[column]
        for code in np.flatnonzero(counts).tolist():
            total[segment.view.texts[code]] += int(counts[code])
    return dict(total.most_common())
