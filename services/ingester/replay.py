"""Takes events of the dead letter in again: what is taken is marked, what is refused again stays.

The mark follows the events on disk. A crash in between leaves an event unmarked that was taken; taken again it is a
duplicate, which the day knows, and marked then. So each is there once.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from services.common.days.log import LogReader, LogWriter
from services.common.days.log_format import REFUSED, TAKEN, Damage, was_begun
from services.common.errors import AppiaError, UsageError
from services.common.rest.storage_keys import NO_KEYS
from services.ingester.dead_letter import DeadLetterNames
from services.ingester.refused import FIRST, Place, Refused, pack_taken, read_place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from services.common.durable import Disk
    from services.common.rest.log_keys import LogKeys
    from services.ingester.dead_letter import DeadLetter
    from services.ingester.intake import Intake, Verdict
    from services.ingester.queue import ByteQueue
    from services.ingester.receiver import Receiver
    from services.ingester.refused import Kept, Taken

AT_ONCE = 256
LOOKED_AT = 8192
"""Records that one request looks at, so that it is answered in good time."""


@dataclass(frozen=True)
class ReplayTools:
    """What taking in again needs: the ways in, which belong to the receiver's thread."""

    disk: Disk
    dead_letter: DeadLetter
    intake: Intake
    receiver: Receiver
    indexing: ByteQueue
    keys: LogKeys = NO_KEYS


@dataclass
class _Outcome:
    """What became of the records that one request looked at; `next` is where to go on, None at the end."""

    taken: int = 0
    duplicates: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    next: Place | None = None

    def told(self) -> dict[str, Any]:
        return {
            "taken": self.taken,
            "duplicates": self.duplicates,
            "refused": dict(self.refused),
            "next": "" if self.next is None else str(self.next),
        }


class Replay:
    """The operation `replay` of the ingester. For any thread; one request at a time, the others wait."""

    def __init__(self, folder: Path, tools: ReplayTools) -> None:
        """Read nothing yet; `folder` is that of the dead letter."""
        self._names = DeadLetterNames(folder)
        self._refused = Refused(folder, tools.keys)
        self._tools = tools
        self._lock = threading.Lock()
        self._log: LogWriter | None = None
        self._marks = 0

    def take(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Take in again some of what is kept: {"taken", "duplicates", "refused", "next"}.

        `args` may hold `records` (names of records, these and no others), `reasons` (only of these) and `start` (a
        `next` of an answer before). `next` is empty when there is nothing left to look at. Blocks until what was taken
        is on disk and marked.

        Raises:
            UsageError: an argument is wrong.
            AppiaError: the dead letter cannot be read, or the ingester is stopping.
        """
        start = read_place(str(args["start"])) if args.get("start") else FIRST
        records = [read_place(text) for text in _texts(args, "records")]
        reasons = frozenset(_texts(args, "reasons"))
        with self._lock:
            kept, outcome = self._named(records) if records else self._look(start, reasons)
            self._take(kept, outcome)
            if outcome.next is None:
                self._clear()
        return outcome.told()

    def _named(self, places: Sequence[Place]) -> tuple[list[Kept], _Outcome]:
        if len(places) > AT_ONCE:
            raise UsageError(f"{len(places)} records at once are too many: name at most {AT_ONCE}.")
        kept = [self._refused.find(place) for place in places]
        for one in kept:
            if not one.is_event:
                raise UsageError(
                    f"{one.place} was refused as {one.reason}, so nothing says that a sensor sent it: only events that "
                    "came in a valid frame or from a folder are taken in again."
                )
        return kept, _Outcome()

    def _look(self, start: Place, reasons: frozenset[str]) -> tuple[list[Kept], _Outcome]:
        """Events from a place on, and an outcome that says where to go on."""
        found: list[Kept] = []
        for looked, kept in enumerate(self._refused.kept(start)):
            if len(found) == AT_ONCE or looked == LOOKED_AT:
                return found, _Outcome(next=kept.place)
            if kept.is_event and (not reasons or kept.reason in reasons):
                found.append(kept)
        return found, _Outcome()

    def _take(self, kept: Sequence[Kept], outcome: _Outcome) -> None:
        verdicts: list[Verdict] = self._tools.receiver.call(lambda: self._add(kept)) if kept else []
        done: list[Kept] = []
        for one, verdict in zip(kept, verdicts, strict=True):
            outcome.taken += verdict.accepted
            outcome.duplicates += verdict.duplicates
            outcome.refused += verdict.refused
            if not verdict.refused:
                done.append(one)
        if done:
            self._mark(done)

    def _add(self, kept: Sequence[Kept]) -> list[Verdict]:
        """In the receiver's thread: an operator's word stands for the sender's that they are a backfill."""
        tools = self._tools
        verdicts = [
            tools.intake.add([one.data], backfill=True, origin=one.origin, is_kept=True) for one in kept
        ]
        for item in tools.intake.commit():
            tools.indexing.put(item, item.size)
        return verdicts

    def _mark(self, done: Sequence[Kept]) -> None:
        """Write down what was taken; block until it is on disk."""
        before = 0
        try:
            if self._log is None:
                self._log = self._open()
            before = self._log.size
            for file_id, group in groupby(sorted(done, key=_by_file), key=_by_file):
                mark = pack_taken(file_id, [one.place.offset for one in group])
                self._log.append(TAKEN, self._marks, [mark])
                self._marks += 1
            self._log.sync()
        except OSError as error:
            # What a failed write or sync left is unknown: it is cut off, and the next marks go into a new file.
            if self._log is not None:
                self._log.abandon(before)
                self._log = None
            raise AppiaError(
                f"Events were taken in ({len(done)}), and that could not be noted ({error.strerror}): see to the disk, "
                "then ask again; they are known, and will be noted then."
            ) from None

    def _open(self) -> LogWriter:
        self._marks = 0
        number = max(self._names.numbers("taken"), default=0) + 1
        return LogWriter(self._tools.disk, self._names.taken(number), self._tools.keys)

    def _clear(self) -> None:
        """Remove the files of which everything was taken, and marks of files that are gone. The newest ones stay."""
        taken = self._refused.taken()
        there: set[int] = set()
        removed = False
        numbers = self._names.numbers("refused")
        for number in numbers:
            path = self._names.refused(number)
            file_id, is_used_up = _state_of(path, taken, self._tools.keys)
            if is_used_up and number != numbers[-1]:
                self._tools.disk.remove(path)
                removed = True
            else:
                there.add(file_id)
        if not there & taken.keys():
            self.close()
            for number in self._names.numbers("taken"):
                self._tools.disk.remove(self._names.taken(number))
        if removed:
            self._tools.receiver.call(self._tools.dead_letter.measure)

    def close(self) -> None:
        """Close the file of marks; no `take` may be running."""
        if self._log is not None:
            self._log.close()
            self._log = None


def _state_of(path: Path, taken: Taken, keys: LogKeys) -> tuple[int, bool]:
    """The id of a file, and whether everything in it was taken in."""
    if not was_begun(path):
        return 0, True
    with closing(LogReader(path, keys)) as log:
        gone = taken.get(log.file_id, set())
        left = any(
            isinstance(record, Damage) or (record.type == REFUSED and record.offset not in gone)
            for record in log.scan_stored()
        )
        return log.file_id, not left


def _by_file(kept: Kept) -> int:
    return kept.file_id


def _texts(args: Mapping[str, Any], name: str) -> list[str]:
    given = args.get(name) or []
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise UsageError(f"{name!r} should be a list of texts.")
    return given
