"""Answers `get`, `days` and `stats`: what is there, without any search."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.names import EVENT_INDICES
from services.rag.events import find_event, read_events, whole_event
from services.rag.held import NOT_REACHED
from services.rag.scope import iso_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.rag.catalog import Snapshot
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


def describe_days(snapshot: Snapshot) -> dict[str, Any]:
    """Which days there are, whether open or sealed, and what each index of them holds: {"days": [...]}."""
    segments: dict[str, list[Segment]] = {}
    faults: dict[str, list[str]] = {}
    for segment in snapshot.segments:
        segments.setdefault(segment.view.day, []).append(segment)
    not_held = [one for one in snapshot.not_held if one[0] != NOT_REACHED]
    for day, reason in (*snapshot.faults, *not_held):
        faults.setdefault(day, []).append(reason)
    held_elsewhere = {day for day, _ in not_held} - {day for day, _ in snapshot.faults}
    days = sorted({*segments, *faults})
    found = [_describe_day(day, segments.get(day, []), faults.get(day, [])) for day in days]
    return {"days": [_named(one) if one["day"] in held_elsewhere else one for one in found]}


def _named(described: dict[str, Any]) -> dict[str, Any]:
    """A day of which a mirror's copy does not hold everything: not damaged, where nothing of it is here."""
    return {**described, "state": "not held"} if described["state"] == "damaged" else described


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
