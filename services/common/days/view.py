"""What a reader sees of one segment at one moment: columns, tables, vector indices, and the events themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from services.common.days.entity_index import EntityIndex
    from services.common.days.metadata import EventFields
    from services.common.days.vectors import VectorIndex


class EventStore(Protocol):
    """Whole events of a segment. Safe for several threads; blocks on the disk."""

    def find(self, event_id: str) -> list[int]:
        """Rows of the events with this id, ascending; may name rows that are not visible yet."""
        ...

    def find_many(self, event_ids: Sequence[str]) -> list[tuple[str, int]]:
        """The rows of all events with these ids, each with its id, ascending among those of one id; see `find`."""
        ...

    def fetch(self, rows: Sequence[int]) -> list[EventFields]:
        """The events in these rows as dictionaries, in that order."""
        ...

    def tagged(self, passes: Callable[[str], bool]) -> list[int]:
        """Rows whose tags, joined by ",", pass, ascending. Reads all tags: for segments without a column of them."""
        ...

    def payload(self, position: int) -> bytes:
        """The event's own bytes. Raises `AppiaError` where they are damaged."""
        ...


@dataclass(frozen=True)
class SegmentView:
    """A segment of a day (open, or the sealed generation) at one moment. Immutable; safe for several threads.

    Every array is mapped from a file. Row i of each column is the same event; an index may have fewer rows
    (`VectorIndex.rows`) than the segment while it catches up, or be absent (`missing` says why).
    """

    day: str
    name: str  # "open-000001" or "sealed-000002"
    sealed: bool
    generation: int  # the sealed generation; 0 for an open segment
    rows: int
    columns: Mapping[str, NDArray[np.generic]]  # by the names of `columns.ROW`, each (rows,)
    addresses: NDArray[np.uint8]  # (n, 16)
    texts: Sequence[str]
    indices: Mapping[str, VectorIndex]
    events: EventStore
    hosts: EntityIndex | None = None  # only of a sealed generation
    missing: Mapping[str, str] = field(default_factory=dict)  # index -> why it is not there
    versions: Mapping[str, int] = field(
        default_factory=dict
    )  # of a sealed generation: index -> version shown
    damaged: frozenset[str] = frozenset()  # indices of which a version cannot be read
    identity: str = ""  # hexadecimal; another one where what is shown is not the same
