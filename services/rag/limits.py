"""What a question may not ask for, seen from the events that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.days.names import NS_PER_DAY, day_start_ns
from services.common.errors import UsageError
from services.rag.scope import iso_time

if TYPE_CHECKING:
    from services.rag.catalog import Snapshot
    from services.rag.filters import Filters


def refuse_future(filters: Filters, snapshot: Snapshot, now_ns: int) -> None:
    """Refuse filters that begin more than a day after now, where nothing can be.

    The clock of a machine without a battery may be years behind its sensors', so what is later than the clock and not
    later than the newest event is no mistake. `now_ns` is in nanoseconds since 1970.

    Raises:
        UsageError: `since`, or every one of `days`, lies in the future.
    """
    newest_ns = max((s.tally.last_ns for s in snapshot.segments if s.view.rows), default=now_ns)
    latest_ns = max(now_ns, newest_ns) + NS_PER_DAY
    begins = {"since": filters.since_ns, "days": min(map(day_start_ns, filters.days), default=None)}
    for key, begin_ns in begins.items():
        if begin_ns is not None and begin_ns > latest_ns:
            raise UsageError(
                f"The filter {key!r} begins in the future: {iso_time(begin_ns)} is more than a day after now, "
                f"{iso_time(now_ns)}, and after the newest event."
            )
