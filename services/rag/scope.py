"""What one question looks into, and the receipt that says so."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from services.common.rpc import Deadline
from services.rag.filters import Filters
from services.rag.held import NOT_REACHED

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from services.common.days.open_writer import VectorSpec
    from services.common.days.selection import Selection
    from services.common.days.vectors import VectorIndex
    from services.common.days.view import SegmentView
    from services.rag.catalog import Snapshot
    from services.rag.segments import Segment

EVERY_INDEX = "all"
FEEDBACK = "feedback"
"""Stands for a day where what analysts said could not be read."""
FIREWALLS = "firewalls"
"""Stands for a day where what firewalls decided could not be read."""
HOURS = "temporal"
NOT_SEARCHED = "not searched: the time for the question was over"


@dataclass(frozen=True)
class Part:
    """A segment and the rows of it that pass the filters; None for all."""

    segment: Segment
    chosen: Selection | None

    @property
    def rows(self) -> NDArray[np.int64] | None:
        """The rows that pass, int64, ascending; None for all."""
        return None if self.chosen is None else self.chosen.rows

    @property
    def view(self) -> SegmentView:
        """What is seen of the segment."""
        return self.segment.view

    @property
    def count(self) -> int:
        """How many rows pass."""
        return self.view.rows if self.chosen is None else self.chosen.count


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

        Where the time ends meanwhile, the oldest segments are left out and the receipt says so.

        Raises:
            RequestError: the time was over before the first.
        """
        self._started = time.perf_counter()
        self.snapshot = snapshot
        self._missing: list[dict[str, str]] = []
        self._models: dict[str, set[str]] = {}
        self._rows: dict[str, dict[str, int]] = {}
        self._unrepeatable: list[str] = []
        self.deadline = bounds.deadline
        self.parts: list[Part] = []
        self.partial = False  # whether the time was over before all was searched
        self._begun = False
        for segment in reversed(snapshot.segments):
            if bounds.filters.may_pass(segment) and self.begin(segment.view.day, EVERY_INDEX):
                chosen = bounds.filters.select(segment)
                if chosen is None or chosen.count:
                    self.parts.append(Part(segment, chosen))
        self.parts.reverse()
        self._begun = False
        self._note_faults(bounds.filters)
        self.note_missing(indices)

    @property
    def is_whole(self) -> bool:
        """Whether every row of the snapshot passes."""
        rows = sum(part.view.rows for part in self.parts if part.chosen is None)
        return rows == self.snapshot.rows

    def note_missing(self, indices: Sequence[str]) -> None:
        """Note which of these indices the parts lack, or have only partly."""
        for part in self.parts:
            for index in indices:
                if index in part.view.missing:
                    self.miss(part.view.day, index, part.view.missing[index])
                if index in part.view.damaged:
                    self.doubt(f"{index} of {part.view.day} was damaged")

    def _note_faults(self, filters: Filters) -> None:
        for day, reason in self.snapshot.faults:
            if not filters.days or day in filters.days:
                self.miss(day, EVERY_INDEX, reason)
                self.doubt(f"not all of {day} could be read")
        for day, reason in self.snapshot.not_held:
            if not filters.days or day in {*filters.days, NOT_REACHED}:
                self.miss(day, EVERY_INDEX, reason)
                self.doubt(f"not all of {day} is held here")
        for reason in self.snapshot.remarks.faults if filters.feedback else ():
            self.miss(FEEDBACK, EVERY_INDEX, reason)
            self.doubt("not all feedback could be read")
        for reason in self.snapshot.decisions.faults if filters.blocked else ():
            self.miss(FIREWALLS, EVERY_INDEX, reason)
            self.doubt("not all decisions of firewalls could be read")

    def begin(self, day: str, index: str) -> bool:
        """Whether there is time to search an index of a day; where there is none, it is noted as missing.

        Begin with the newest day: the first is always searched, and what comes later in time is asked for most.

        Raises:
            RequestError: the time is over and nothing was searched (code "deadline").
        """
        if not self.deadline.is_near:
            self._begun = True
            return True
        if not self._begun:
            self.deadline.refuse()
        self.partial = True
        self.miss(day, index, NOT_SEARCHED)
        self.doubt("the time for the question was over before all was searched")
        return False

    def searchable(self, index: str, models: Container[str]) -> Iterator[tuple[int, VectorIndex]]:
        """Each part whose `index` is of one of `models`, by number, with that index; newest first, while there is time.

        Raises:
            RequestError: as `begin`.
        """
        for number in reversed(range(len(self.parts))):
            found = self.parts[number].view.indices.get(index)
            if found is None or found.spec.model_id not in models:
                continue
            if self.begin(self.parts[number].view.day, index):
                self._note_use(number, found)
                yield number, found

    def miss(self, day: str, index: str, reason: str) -> None:
        """Note that an index of a day could not be searched, or only a part of it."""
        entry = {"day": day, "index": index, "reason": reason}
        if entry not in self._missing:
            self._missing.append(entry)

    def doubt(self, reason: str) -> None:
        """Note why the same question with the same `as_of` may have another answer, in a clause."""
        if reason not in self._unrepeatable:
            self._unrepeatable.append(reason)

    def doubt_hours(self, view: SegmentView) -> None:
        """Note that vectors of hours of an open day were used, which later events change in place."""
        if not view.sealed:
            self.doubt(f"{view.day} is open, and late events change the hours that {HOURS} compares")

    def reasons(self, indices: Sequence[str], day: str | None = None) -> list[str]:
        """Why something of these indices was missed (on a day), as far as it is known by now."""
        return [
            entry["reason"]
            for entry in self._missing
            if entry["index"] in indices and day in {None, entry["day"]}
        ]

    def rows_of(self, index: str) -> Mapping[str, int]:
        """How many rows of these parts each model of an index has made."""
        if index not in self._rows:
            rows = self._rows[index] = {}
            for part in self.parts:
                found = part.view.indices.get(index)
                if found is not None:
                    rows[found.spec.model_id] = rows.get(found.spec.model_id, 0) + part.count
        return self._rows[index]

    def models_of(self, index: str) -> list[str]:
        """The ids of the models that an index of these parts was made by, each once, in the order of the parts."""
        return list(self.rows_of(index))

    def miss_model(self, index: str, model_id: str, reason: str) -> None:
        """Note that the parts whose `index` is of a model could not be searched, because it could not be used."""
        for part in self.parts:
            found = part.view.indices.get(index)
            if found is not None and found.spec.model_id == model_id:
                self.miss(part.view.day, index, f"made by model {model_id}, which cannot be used: {reason}")
                self.doubt(f"the model {model_id} could not be used")

    def index_of(self, number: int, index: str, models: Container[str]) -> VectorIndex | None:
        """The index of the part with a number; None where it has none, or one of a model that is not in `models`."""
        found = self.parts[number].view.indices.get(index)
        if found is None or found.spec.model_id not in models:
            return None
        self._note_use(number, found)
        return found

    def _note_use(self, number: int, found: VectorIndex) -> None:
        self._models.setdefault(found.spec.index, set()).add(found.spec.model_id)
        if found.spec.index == HOURS:
            self.doubt_hours(self.parts[number].view)

    def spec(self, number: int, index: str) -> VectorSpec:
        """What the vectors of an index were made by in the part with a number, which has that index."""
        return self.parts[number].view.indices[index].spec

    def receipt(self) -> dict[str, Any]:
        """What was searched, what was missing, and how long it took so far."""
        views = [part.view for part in self.parts]
        newest = max((s.tally.last_ns for s in self.snapshot.segments if s.view.rows), default=None)
        return {
            "days": sorted({view.day for view in views}),
            "rows": sum(part.count for part in self.parts),
            "missing": self._missing,
            "partial": self.partial,
            "newest_event": None if newest is None else iso_time(newest),
            "generations": {view.day: view.generation for view in views if view.sealed},
            "models": {index: sorted(models) for index, models in self._models.items()},
            "as_of": self.snapshot.as_of,
            "repeatable": not self._unrepeatable,
            "unrepeatable": list(self._unrepeatable),
            "took_ms": round((time.perf_counter() - self._started) * 1000, 3),
        }


def iso_time(time_ns: int) -> str:
    """A time in nanoseconds since 1970 as ISO 8601 in UTC with microseconds."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).isoformat()[:19]  # a quarter of the time of `strftime`
    return f"{moment}.{nanoseconds // 1000:06d}Z"
