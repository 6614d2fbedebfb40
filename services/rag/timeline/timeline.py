"""Answers `timeline`: what a host did hour by hour, and where its behaviour changed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.names import NS_PER_DAY, day_of, day_start_ns
from services.common.errors import UsageError
from services.rag.entities import parse_host
from services.rag.events import Place, read_events
from services.rag.filters import Filters
from services.rag.networks import parse_network
from services.rag.scope import EVERY_INDEX, Scope, iso_time
from services.rag.timeline.changes import find_changes
from services.rag.timeline.events import gather, narrow_to
from services.rag.timeline.hours import HOUR_NS, Hours, watched_hours
from services.rag.timeline.showing import show_hour, show_total

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from services.rag.catalog import Snapshot
    from services.rag.scope import Bounds
    from services.rag.timeline.changes import Change

MOST_HOURS, MOST_CHANGES = 1000, 200
"""Of more, the newest are shown."""


@dataclass(frozen=True)
class Window:
    """Which hours are shown: from `since` to before `until` (hours since 1970), on `days` where there are some."""

    since: int | None
    until: int | None
    days: tuple[str, ...]

    @classmethod
    def of(cls, filters: Filters) -> Window:
        """The whole hours that a question's filters touch."""
        since, until = filters.since_ns, filters.until_ns
        return cls(
            None if since is None else since // HOUR_NS,
            None if until is None else -(-until // HOUR_NS),
            filters.days,
        )

    @property
    def end_ns(self) -> int | None:
        """After this nothing is looked at, nanoseconds since 1970."""
        ends = [day_start_ns(max(self.days)) + NS_PER_DAY] if self.days else []
        ends += [] if self.until is None else [self.until * HOUR_NS]
        return min(ends, default=None)

    def shows(self, hour: int) -> bool:
        """Whether an hour is shown."""
        inside = (self.since is None or hour >= self.since) and (self.until is None or hour < self.until)
        return inside and (not self.days or day_of(hour * HOUR_NS) in self.days)


@dataclass(frozen=True)
class Timeline:
    """Tells what hosts did. Safe for several threads; `services` names ports."""

    services: Mapping[int, str] = field(default_factory=dict)

    def tell(self, snapshot: Snapshot, host: str, bounds: Bounds) -> dict[str, Any]:
        """What a host, `IP` or `IP@DAY`, did; docs/timeline.md has the answer.

        Filters of time choose which hours are shown. Those before are looked at all the same: a change is one against
        the host's own past. Blocks on the columns of all days, a millisecond or so for each million events.

        Raises:
            UsageError: `host` is no address.
            RequestError: the time was over before anything was looked at.
        """
        name = parse_host(host)
        if name is None:
            raise UsageError(
                f"{host[:80]!r} is no address: ask for IP or IP@DAY, for example 10.0.0.5@2026-01-22."
            )
        asked = bounds.filters if name.day is None else _on_day(bounds.filters, name.day)
        window = Window.of(asked)
        filters = replace(asked, since_ns=None, until_ns=window.end_ns, days=())
        scope = Scope(snapshot, replace(bounds, filters=filters))
        narrow_to(scope, Filters(host=(parse_network(name.text),)))
        return {"host": name.text, **self._told(scope, Hours.of(gather(scope, name.address)), window)}

    def _told(self, scope: Scope, hours: Hours, window: Window) -> dict[str, Any]:
        watched = np.union1d(watched_hours(_looked_at(scope), window.end_ns), hours.numbers)
        changes = [c for c in find_changes(hours, watched, self.services) if _is_shown(c, window)]
        shown = [place for place, number in enumerate(hours.numbers.tolist()) if window.shows(number)]
        kept = changes[-MOST_CHANGES:]
        return {
            "total": show_total(hours, shown, self.services),
            "watched_hours": sum(map(window.shows, watched.tolist())),
            "active_hours": len(shown),
            "hours": [show_hour(hours, place, self.services) for place in shown[-MOST_HOURS:]],
            "changed": len(changes),
            "changes": [*_show_changes(scope, hours, kept)],
            "receipt": scope.receipt(),
        }


def _on_day(filters: Filters, day: str) -> Filters:
    if filters.days and day not in filters.days:
        raise UsageError(f"The host is asked about on {day}, and the filter 'days' leaves this day out.")
    return replace(filters, days=(day,))


def _looked_at(scope: Scope) -> Iterator[Any]:
    """What was seen of the days that were looked at."""
    for segment in scope.snapshot.segments:
        if not scope.reasons((EVERY_INDEX,), segment.view.day):
            yield segment.view


def _is_shown(change: Change, window: Window) -> bool:
    return any(window.shows(hour) for hour in (change.first, change.last))


def _show_changes(scope: Scope, hours: Hours, changes: Sequence[Change]) -> Iterator[dict[str, Any]]:
    table = hours.events.table
    places = [
        Place(scope.parts[int(table["part"][change.event])].view, int(table["row"][change.event]))
        for change in changes
    ]
    for change, event in zip(changes, read_events(places), strict=True):
        yield {
            "from": iso_time(change.first * HOUR_NS),
            "to": iso_time((change.last + 1) * HOUR_NS),
            "kind": change.kind,
            "sentence": change.sentence,
            **change.facts,
            "event_id": event["event_id"],
        }
