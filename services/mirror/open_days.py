"""Keeps the open segments of all days as they are at the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.mirror.open_segment import SegmentCopy
from services.mirror.source import Gone

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from services.common.days.names import StateNames
    from services.mirror.faults import Faults
    from services.mirror.open_events import Ground

Place = tuple[str, int]
"""A day, and the number of an open segment of it."""


class OpenDays:
    """The copies of open segments. For one thread."""

    def __init__(self, ground: Ground, places: tuple[StateNames, StateNames], faults: Faults) -> None:
        """Follow none yet; `places` are the state directories here and there."""
        self._ground, self._faults = ground, faults
        self._local, self._remote = places
        self._copies: dict[Place, SegmentCopy] = {}

    def poll(self, wanted: Collection[Place], go_on: Callable[[], bool]) -> None:
        """Pull what is new of some segments, the newest day first, until nothing is or `go_on` says no.

        Raises `SourceAway`.
        """
        for place in [place for place in self._copies if place not in wanted]:
            self.let_go(place[0], [place[1]])
        for place in sorted(wanted, reverse=True):
            if place not in self._copies:
                day, number = place
                local, remote = (state.day(day).segment(number) for state in (self._local, self._remote))
                self._copies[place] = SegmentCopy(self._ground, local, remote, self._faults)
            try:
                while self._copies[place].step() and go_on():
                    pass
            except Gone:
                continue  # sealed just now: the next look at the day shows it
            if not go_on():
                return

    def missing_rows(self, day: str) -> int:
        """Rows of a day that the source shows and that are not here."""
        return sum(copy.missing_rows for place, copy in self._copies.items() if place[0] == day)

    def let_go(self, day: str, numbers: Collection[int]) -> None:
        """Close segments of a day that are not followed any more; what was wrong with them is of no matter then."""
        for number in numbers:
            copy = self._copies.pop((day, number), None)
            if copy is not None:
                copy.close()
                copy.forget_faults()

    def remove(self, place: Place) -> None:
        """Take a segment away that the source has no more, and nothing instead of it."""
        self.let_go(place[0], [place[1]])
        self._ground.disk.remove(self._local.day(place[0]).segment(place[1]).folder)

    def close(self) -> None:
        """Close all files."""
        for copy in self._copies.values():
            copy.close()
        self._copies.clear()
