"""What could not be pulled, why, and when it is tried again: each part on its own, later each time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

FIRST_S, LONGEST_S = 2.0, 300.0
MOST_TOLD = 20
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True)
class _Fault:
    sentence: str
    due_at: float
    wait_s: float


class Faults:
    """Faults by part, such as "2026-01-22" or "models". Written by one thread, `sentences` for any."""

    def __init__(self, clock: Callable[[], float], report: Callable[[str, str], None]) -> None:
        """`clock` gives seconds that never go back; `report` takes a part and a sentence, once for each new one."""
        self._clock = clock
        self._report = report
        self._faults: dict[str, _Fault] = {}

    def is_due(self, part: str) -> bool:
        """Whether a part may be tried now."""
        fault = self._faults.get(part)
        return fault is None or self._clock() >= fault.due_at

    def note(self, part: str, sentence: str) -> None:
        """A part could not be pulled; the next try comes after twice the time of the last pause."""
        before = self._faults.get(part)
        wait_s = FIRST_S if before is None else min(before.wait_s * 2, LONGEST_S)
        if before is None or before.sentence != sentence:
            self._report(part, sentence)
        self._faults = {**self._faults, part: _Fault(sentence, self._clock() + wait_s, wait_s)}

    def clear(self, part: str) -> None:
        """A part is as it should be."""
        if part in self._faults:
            self._faults = {name: fault for name, fault in self._faults.items() if name != part}

    def forget_days(self, days: Collection[str]) -> None:
        """Of other days than these nothing is wanted any more, so nothing is wrong with them."""
        self._faults = {
            part: fault
            for part, fault in self._faults.items()
            if not _DAY.match(part) or part.partition(" ")[0] in days
        }

    def of(self, part: str) -> str:
        """Why a part could not be pulled; empty where it could."""
        fault = self._faults.get(part)
        return "" if fault is None else fault.sentence

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of them, the first ones of very many."""
        return tuple(f"{part}: {fault.sentence}" for part, fault in sorted(self._faults.items()))[:MOST_TOLD]
