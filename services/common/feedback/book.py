"""All remarks in the order in which they were taken, and what of them stands at a moment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.common.feedback.remark import Remark, Verdict


class Book:
    """Remarks, numbered from 0. It only grows, by one thread; its pages may be read by any at the same time."""

    def __init__(self) -> None:
        """Begin with none."""
        self._remarks: list[Remark] = []
        self._of_event: dict[str, list[int]] = {}
        self._by_id: dict[str, Remark] = {}

    def __len__(self) -> int:
        return len(self._remarks)

    def add(self, remark: Remark) -> bool:
        """Add a remark; False where its feedback id is there already, and then nothing is added."""
        if remark.feedback_id in self._by_id:
            return False
        self._by_id[remark.feedback_id] = remark
        self._of_event.setdefault(remark.event_id, []).append(len(self._remarks))
        self._remarks.append(remark)
        return True

    def find(self, feedback_id: str) -> Remark | None:
        """The remark with an id; None where there is none."""
        return self._by_id.get(feedback_id)

    def page(self, count: int | None = None) -> Page:
        """The first `count` remarks, or all that there are now."""
        return Page(self, len(self._remarks) if count is None else min(count, len(self._remarks)))

    def remark(self, number: int) -> Remark:
        """The remark with a number."""
        return self._remarks[number]

    def numbers_of(self, event_id: str) -> list[int]:
        """The numbers of the remarks on an event, ascending; may grow while it is read."""
        return self._of_event.get(event_id, [])


@dataclass(frozen=True)
class Page:
    """The first `count` remarks of a book: what was known at one moment. Never changes; safe for several threads.

    Of what an analyst said about an event his newest verdict stands, and the notes and tags that he added after it;
    a withdrawal takes back all of it. What one analyst says leaves standing what another said.
    """

    book: Book
    count: int

    def of(self, event_id: str) -> list[tuple[int, Remark]]:
        """All remarks on an event with their numbers, the oldest first."""
        return [(n, self.book.remark(n)) for n in self.book.numbers_of(event_id) if n < self.count]

    def standing(self, event_id: str) -> list[tuple[int, Remark]]:
        """The remarks on an event that stand, with their numbers, the newest first."""
        by_analyst: dict[str, list[tuple[int, Remark]]] = {}
        for number, remark in self.of(event_id):
            mine = by_analyst.setdefault(remark.analyst, [])
            if remark.is_withdrawal or remark.verdict is not None:
                mine.clear()
            if not remark.is_withdrawal:
                mine.append((number, remark))
        found = [entry for mine in by_analyst.values() for entry in mine]
        return sorted(found, key=lambda entry: -entry[0])

    def newest_first(self) -> Iterator[tuple[int, Remark]]:
        """Every remark with its number."""
        return ((number, self.book.remark(number)) for number in range(self.count - 1, -1, -1))

    @cached_property
    def verdicts(self) -> Mapping[str, tuple[Verdict, ...]]:
        """For each event with a standing remark the verdicts that stand, the newest first; maybe none of them.

        Computed once, in about 2 microseconds a remark.
        """
        event_ids = dict.fromkeys(self.book.remark(number).event_id for number in range(self.count))
        standing = {event_id: self.standing(event_id) for event_id in event_ids}
        return {
            event_id: tuple(remark.verdict for _, remark in entries if remark.verdict is not None)
            for event_id, entries in standing.items()
            if entries
        }
