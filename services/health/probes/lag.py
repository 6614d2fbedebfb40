"""How far each replica is behind the files that it serves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.common.days.published import SEALED, published
from services.common.errors import AppiaError
from services.health.probes.services import REPLICA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.days.consistency import DayState
    from services.common.days.names import StateNames
    from services.health.observation import Service


class Files:
    """What the writer has published in all: rows, and the newest generation. For one thread.

    Sealed days are taken from the last look at them, and are looked at again where their pointer is another. So a round
    reads a pointer and a few counters a day.
    """

    def __init__(self, state: StateNames) -> None:
        """Look at nothing yet."""
        self._state = state

    def look(self, states: Mapping[str, DayState]) -> tuple[int, str] | None:
        """Rows and newest generation (`DAY/N`, empty for none); None where that cannot be told now. Blocks."""
        rows, newest = 0, ""
        for day in self._state.days():
            try:
                found = published(self._state.day(day))
            except (AppiaError, OSError, KeyError, ValueError):
                return None  # damaged, or being changed: the checks say which
            sealed = found.pop(SEALED, 0)
            rows += sum(found.values())
            if sealed:
                known = states.get(day)
                if known is None or known.generation != sealed or known.chunk is None:
                    return None
                rows += known.chunk.rows
                newest = f"{day}/{sealed}"  # days come in order
        return rows, newest


def with_lag(service: Service, files: tuple[int, str] | None) -> Service:
    """A service with its lag; for what is no replica, or does not say what it serves, as it was.

    How many rows one lacks cannot be told where days are not held for it.
    """
    if files is None or service.kind != REPLICA or service.rows is None or service.newest_generation is None:
        return service
    rows, newest = files
    return replace(
        service,
        rows_behind=None if service.days_not_held else max(rows - service.rows, 0),
        generations_behind=int(_in_order(service.newest_generation) < _in_order(newest)),
    )


def _in_order(generation: str) -> tuple[str, int]:
    """`DAY/N` as what sorts as days and numbers do."""
    day, _, number = generation.partition("/")
    return day, int(number) if number.isdecimal() else 0
