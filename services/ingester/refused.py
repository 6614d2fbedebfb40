"""Reads the dead letter: what is kept there and was not taken in later. Changes nothing; for any process."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgpack

from services.common.days.log import LogReader
from services.common.days.log_format import REFUSED, TAKEN, Damage, was_begun
from services.common.errors import AppiaError, UsageError
from services.common.rest.storage_keys import NO_KEYS
from services.ingester.dead_letter import DeadLetterNames

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from services.common.days.log_format import Record
    from services.common.rest.log_keys import LogKeys

EVENT_REASONS = frozenset(
    {
        "not_an_event",
        "no_event_id",
        "no_event_timestamp",
        "bad_event_timestamp",
        "no_network_features",
        "bad_source_ip",
        "bad_destination_ip",
        "too_old",
        "in_future",
        "day_unreadable",
        "day_dropped",
    }
)
"""Why the intake refuses an event. Only such are ever taken in again: a frame that was refused proves no sender, so
what is written in it must not become an event."""

_ID = re.compile(r"([0-9]{1,6}):([0-9]{1,12})")

Taken = dict[int, set[int]]
"""By file id, the offsets of records that were taken in."""


@dataclass(frozen=True, order=True)
class Place:
    """Where a record lies: number of the file and offset in it. As text `file:offset`."""

    number: int
    offset: int

    def __str__(self) -> str:
        """The text that a user names it by."""
        return f"{self.number}:{self.offset}"


FIRST = Place(0, 0)
"""Before every record."""


def read_place(text: str) -> Place:
    """A place from what a user wrote.

    Raises:
        UsageError: it is none.
    """
    match = _ID.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text[:40]!r} names nothing in the dead letter: `appia dead-letter list` shows the names."
        )
    return Place(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class Kept:
    """One thing that was refused."""

    place: Place
    file_id: int
    reason: str
    detail: str
    origin: str
    received_ns: int
    data: bytes

    @property
    def is_event(self) -> bool:
        """Whether it is an event that may be taken in again."""
        return self.reason in EVENT_REASONS


class Refused:
    """The dead letter in a folder, as it is now."""

    def __init__(self, folder: Path, keys: LogKeys = NO_KEYS) -> None:
        """Read nothing yet."""
        self._names = DeadLetterNames(folder)
        self._keys = keys

    def kept(self, start: Place = FIRST, taken: Mapping[int, set[int]] | None = None) -> Iterator[Kept]:
        """What is kept from a place on and was not taken in, oldest first.

        Damaged stretches are passed over. `taken` is what `taken` gave, where the caller knows it.

        Raises:
            AppiaError: a file cannot be read.
        """
        gone = self.taken() if taken is None else taken
        for number in self._names.numbers("refused"):
            path = self._names.refused(number)
            if number < start.number or not was_begun(path):
                continue
            with closing(LogReader(path, self._keys)) as log:
                begin = start.offset if number == start.number else 0
                for record in _records(log, REFUSED, max(begin, log.start)):
                    if record.offset not in gone.get(log.file_id, ()):
                        yield _kept(log, number, record)

    def find(self, place: Place) -> Kept:
        """One thing that is kept.

        Raises:
            AppiaError: nothing is there, or it was taken in.
        """
        found = next(self.kept(place), None)
        if found is None or found.place != place:
            raise AppiaError(f"The dead letter holds nothing at {place}, or it was taken in: see the list.")
        return found

    def taken(self) -> Taken:
        """Which records were taken in.

        Raises:
            AppiaError: a file cannot be read.
        """
        found: Taken = {}
        for number in self._names.numbers("taken"):
            path = self._names.taken(number)
            if not was_begun(path):
                continue
            with closing(LogReader(path, self._keys)) as log:
                for record in _records(log, TAKEN, log.start):
                    mark = msgpack.unpackb(record.payload)
                    found.setdefault(mark["file_id"], set()).update(mark["offsets"])
        return found


def pack_taken(file_id: int, offsets: Sequence[int]) -> bytes:
    """A record that says which records of a file were taken in."""
    packed: bytes = msgpack.packb({"file_id": file_id, "offsets": list(offsets)})
    return packed


def _records(log: LogReader, kind: int, start: int) -> Iterator[Record]:
    for record in log.scan(start):
        if not isinstance(record, Damage) and record.type == kind:
            yield record


def _kept(log: LogReader, number: int, record: Record) -> Kept:
    try:
        fields: dict[str, Any] = msgpack.unpackb(record.payload)
        return Kept(Place(number, record.offset), log.file_id, **fields)
    except (ValueError, TypeError) as error:
        raise AppiaError(
            f"{log.path} at {record.offset} is of a newer release ({type(error).__name__}): install that to read it"
        ) from None
