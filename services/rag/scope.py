"""What one question looks into, and the receipt that says so."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from services.common.rpc import Deadline
from services.rag.filters import Filters

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from services.common.days.open_writer import VectorSpec
    from services.common.days.vectors import VectorIndex
    from services.common.days.view import SegmentView
    from services.rag.catalog import Snapshot

EVERY_INDEX = "all"


@dataclass(frozen=True)
class Part:
    """A segment and the rows of it that pass the filters: int64, ascending; None for all."""

    view: SegmentView
    rows: NDArray[np.int64] | None

    @property
    def count(self) -> int:
        """How many rows pass."""
        return self.view.rows if self.rows is None else len(self.rows)


@dataclass(frozen=True)
class Bounds:
    """What limits an answer: how many events, which, and until when it is of use."""

    k: int
    filters: Filters = field(default_factory=Filters)
    deadline: Deadline = field(default_factory=Deadline)


class Scope:
    """The parts of a snapshot that a question looks into. Used by one thread; collects what the receipt says."""

    def __init__(self, snapshot: Snapshot, bounds: Bounds, indices: Sequence[str] = ()) -> None:
        """Evaluate the filters on every segment, and note which of `indices` are missing or partial.

        Raises:
            RequestError: the deadline has passed.
        """
        self._started = time.perf_counter()
        self._snapshot = snapshot
        self._missing: list[dict[str, str]] = []
        self._specs: dict[str, VectorSpec] = {}
        self.deadline = bounds.deadline
        self.parts: list[Part] = []
        for segment in snapshot.segments:
            bounds.deadline.check()
            rows = bounds.filters.select(segment)
            if rows is None or len(rows):
                self.parts.append(Part(segment.view, rows))
        self._note_faults(bounds.filters)
        for part in self.parts:
            for index in indices:
                if index in part.view.missing:
                    self.miss(part.view.day, index, part.view.missing[index])

    def _note_faults(self, filters: Filters) -> None:
        for day, reason in self._snapshot.faults:
            if not filters.days or day in filters.days:
                self.miss(day, EVERY_INDEX, reason)

    def miss(self, day: str, index: str, reason: str) -> None:
        """Note that an index of a day could not be searched, or only a part of it."""
        entry = {"day": day, "index": index, "reason": reason}
        if entry not in self._missing:
            self._missing.append(entry)

    def index_of(self, part: Part, index: str, model_id: str) -> VectorIndex | None:
        """The index of a part, None where it has none or one of another model, whose vectors are not comparable."""
        found = part.view.indices.get(index)
        if found is None:
            return None
        if found.spec.model_id != model_id:
            reason = f"made by model {found.spec.model_id}, the question is one for {model_id}"
            self.miss(part.view.day, index, reason)
            return None
        self._specs[index] = found.spec
        return found

    def metric(self, index: str) -> str:
        """How an index that was searched compares vectors: "cosine" or "l2"."""
        return self._specs[index].metric

    def receipt(self) -> dict[str, Any]:
        """What was searched, what was missing, and how long it took so far."""
        views = [part.view for part in self.parts]
        newest = max((s.tally.last_ns for s in self._snapshot.segments if s.view.rows), default=None)
        return {
            "days": sorted({view.day for view in views}),
            "rows": sum(part.count for part in self.parts),
            "missing": self._missing,
            "newest_event": None if newest is None else iso_time(newest),
            "generations": {view.day: view.generation for view in views if view.sealed},
            "models": {index: spec.model_id for index, spec in self._specs.items()},
            "took_ms": round((time.perf_counter() - self._started) * 1000, 3),
        }


def iso_time(time_ns: int) -> str:
    """A time in nanoseconds since 1970 as ISO 8601 in UTC with microseconds."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{nanoseconds // 1000:06d}Z"
