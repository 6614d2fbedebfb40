"""What the source has, by day: the generation that serves, and the open segments behind it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.days.layout import LAYOUT_VERSION
from services.common.days.names import day_start_ns, parse_day, parse_number
from services.common.errors import AppiaError, UsageError
from services.mirror.sealed import parse_pointer
from services.mirror.source import BadSource, Gone, Range, SourceAway, read_small

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.common.days.names import StateNames
    from services.mirror.faults import Faults
    from services.mirror.source import Source

NEWEST = 2
"""So many days are looked at with every poll; the others with every `whole` look."""
_LATE_NS = 9 * 86_400 * 1_000_000_000
"""Events may be a week late: an older day with open segments is found in turn, one a look."""
_AT_ONCE = 100
_POINTER = 64
_VERSION = re.compile(rb"\d{1,6}\s*")


@dataclass(frozen=True)
class There:
    """A day at the source."""

    day: str
    generation: int | None
    segments: tuple[int, ...]


class Survey:
    """Looks at the source. For one thread; `days` is replaced as a whole."""

    def __init__(self, source: Source, remote: StateNames, faults: Faults) -> None:
        """Know no day yet."""
        self._source, self._remote, self._faults = source, remote, faults
        self._turn = 0
        self.days: dict[str, There] = {}

    def check(self) -> None:
        """Raise unless a state directory that this release can read is there.

        Raises:
            SourceAway: there is none: it may be a share that is not mounted.
            BadSource: it is of a newer release, or damaged.
        """
        try:
            data = read_small(self._source, self._remote.version, _POINTER)
        except Gone:
            raise SourceAway("The source has no VERSION: it is no state directory, or not mounted.") from None
        if not _VERSION.fullmatch(data):
            raise BadSource("VERSION of the source holds no number.")
        if int(data) > LAYOUT_VERSION:
            raise BadSource(
                f"The source has layout version {int(data)}, this release reads up to {LAYOUT_VERSION}: install a "
                "newer appia."
            )

    def look(self, *, whole: bool) -> None:
        """Look at the newest days, or at all. Raises `SourceAway`, and notes what is wrong with a day."""
        self.check()
        listed = self._listed()
        looked = listed if whole else listed[:NEWEST]
        listing = set(self._with_segments(listed)) if whole else set(looked)
        # Segments first: they go after the generation that holds them is named.
        segments = {day: self._segments(day) if day in listing else self._known(day) for day in looked}
        found = {day: There(day, number, segments[day]) for day, number in self._pointers(looked)}
        kept = {day: self.days[day] for day in listed if day in self.days}
        self.days = {**kept, **found}

    def _listed(self) -> list[str]:
        """Days of the source, the newest first."""
        try:
            names = self._source.sizes(self._remote.root / "days")
        except Gone:
            return []
        return sorted((name for name, size in names.items() if size < 0 and _is_day(name)), reverse=True)

    def _with_segments(self, listed: list[str]) -> Iterable[str]:
        """The days that may have open segments: new ones, those known to have some, and one more in turn."""
        if not listed:
            return
        late = day_start_ns(listed[0]) - _LATE_NS
        self._turn += 1
        yield listed[self._turn % len(listed)]
        for day in listed:
            known = self.days.get(day)
            if known is None or known.generation is None or known.segments or day_start_ns(day) >= late:
                yield day

    def _known(self, day: str) -> tuple[int, ...]:
        known = self.days.get(day)
        return () if known is None else known.segments

    def _segments(self, day: str) -> tuple[int, ...]:
        try:
            names = self._source.sizes(self._remote.day(day).open_folder)
        except Gone:
            return ()
        numbers = (parse_number(name) for name, size in names.items() if size < 0)
        return tuple(sorted(number for number in numbers if number))

    def _pointers(self, days: list[str]) -> Iterable[tuple[str, int | None]]:
        for start in range(0, len(days), _AT_ONCE):
            part = days[start : start + _AT_ONCE]
            paths = [self._remote.day(day).current for day in part]
            read = self._source.read_each([Range(path, 0, _POINTER) for path in paths])
            for day, path, data in zip(part, paths, read, strict=True):
                try:
                    yield day, parse_pointer(data, path)
                except AppiaError as error:
                    self._faults.note(f"{day} CURRENT", str(error))
                    yield day, None if day not in self.days else self.days[day].generation
                else:
                    self._faults.clear(f"{day} CURRENT")


def _is_day(name: str) -> bool:
    try:
        return parse_day(name) == name
    except UsageError:
        return False
