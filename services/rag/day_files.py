"""Opens the files of one day and notices what changed: a new generation, a new index, new or vanished segments."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.days.names import INDICES, read_pointer
from services.common.days.open_reader import OpenSegmentReader
from services.common.days.opening import PLAIN
from services.common.days.sealed_reader import SealedReader
from services.common.errors import AppiaError
from services.common.rest.storage_keys import NO_KEYS
from services.rag.segments import Segment, Tally

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.days.names import DayNames
    from services.common.days.opening import Opening
    from services.common.days.view import SegmentView
    from services.common.rest.log_keys import LogKeys

# What reading damaged files raises: the days room's own error, the system's, numpy's and faiss's, SQLite's,
# and those of a manifest that lacks what it should have.
UNREADABLE = (AppiaError, OSError, ValueError, RuntimeError, KeyError, TypeError, sqlite3.Error)
_RETRIES = 3
_RETRY_DAMAGED_S = 60.0


class OpenFollower:
    """Follows one open segment. `poll` is for one thread at a time; `segment` may be read by any."""

    def __init__(self, names: DayNames, number: int, keys: LogKeys = NO_KEYS) -> None:
        self.number = number
        self.reader = OpenSegmentReader(names.day, names.segment(number), keys)
        self.segment: Segment | None = None
        self.fault: str | None = None
        self.gone = False  # its files vanished or shrank; the last view stays usable until the day is sealed

    def poll(self) -> bool:
        """Look at the counters and map what is new; True when something changed."""
        if self.gone:
            return False
        try:
            view = self.reader.view()
        except (FileNotFoundError, ValueError):
            self.gone = True
            return False
        except UNREADABLE as error:
            return self._cannot(error)
        try:
            return self._take(view)
        except sqlite3.Error as error:
            return self._cannot(error)

    def _cannot(self, error: Exception) -> bool:
        """Keep why it cannot be read just now; True when that is another reason than before."""
        changed = self.fault != str(error)
        self.fault = str(error)
        return changed

    def _take(self, view: SegmentView) -> bool:
        before = self.segment
        if before is None:
            # Opens a connection, which outlives the file when the segment is removed after sealing.
            if view.rows:
                view.events.find("")
            self.fault = None
            self.segment = Segment(view, Tally().grown(view))
            return True
        if view.rows < before.view.rows:
            self.gone = True
            return False
        if view is before.view and self.fault is None:
            return False
        self.fault = None
        self.segment = Segment(view, before.tally.grown(view), before.tables)
        return True


@dataclass(frozen=True)
class DayFiles:
    """The open files of one day."""

    names: DayNames
    signature: tuple[object, ...] = ()
    reader: SealedReader | None = None
    sealed: Segment | None = None
    followers: tuple[OpenFollower, ...] = ()
    fault: str | None = None
    retry_at: float = 0.0
    opening: Opening = PLAIN

    def segments(self) -> list[Segment]:
        """What can be searched: the sealed generation, then the open segments."""
        found = [self.sealed, *(follower.segment for follower in self.followers)]
        return [segment for segment in found if segment is not None]

    def faults(self) -> list[str]:
        """Why parts of the day cannot be read, one sentence each."""
        found = [self.fault, *(follower.fault for follower in self.followers)]
        return [fault for fault in found if fault is not None]

    @property
    def damaged_indices(self) -> dict[str, str]:
        """Why indices of the sealed day could not be opened, by their names."""
        if self.sealed is None:
            return {}
        return {name: self.sealed.view.missing[name] for name in sorted(self.sealed.view.damaged)}

    @property
    def damaged(self) -> bool:
        """Whether something that is sealed could not be opened: the day, or one of its indices."""
        return self.fault is not None or bool(self.damaged_indices)

    def readers(self) -> set[SealedReader | OpenSegmentReader]:
        """The readers that hold files open."""
        found = [self.reader, *(follower.reader for follower in self.followers)]
        return {reader for reader in found if reader is not None}


def look_at_day(known: DayFiles, now: float) -> DayFiles:
    """Compare a day with its files on disk; the same object when nothing changed.

    Blocks while it checks the SHA-256 of files that are new. `now` is in seconds on the monotonic clock: what was
    damaged is tried again after a minute, or when a pointer changes.
    """
    # Segments go after the generation that holds them is published, so they are listed before CURRENT is read.
    listed = tuple(known.names.segments())
    signature = (listed, _stamp(known.names.current), *_index_stamps(known))
    reopen = any(follower.gone and follower.number in listed for follower in known.followers)
    if signature == known.signature and not reopen and (not known.damaged or now < known.retry_at):
        return known
    try:
        reader = _open_sealed(known)
        through = 0 if reader is None else reader.through_segment
    except UNREADABLE as error:
        return DayFiles(
            names=known.names,
            signature=signature,
            reader=known.reader,
            sealed=known.sealed,
            followers=_follow(known, listed) if known.reader is None else known.followers,
            fault=f"{error}",
            retry_at=now + _RETRY_DAMAGED_S,
            opening=known.opening,
        )
    return DayFiles(
        names=known.names,
        signature=signature,
        reader=reader,
        sealed=None if reader is None else _sealed_segment(reader.view(), known.sealed),
        followers=_follow(known, listed, through),
        retry_at=now + _RETRY_DAMAGED_S,
        opening=known.opening,
    )


def _open_sealed(known: DayFiles) -> SealedReader | None:
    """A reader of the generation that CURRENT names, with the indices it has now; None for a day never sealed."""
    for attempt in range(_RETRIES):
        number = read_pointer(known.names.current)
        if number is None:
            return None
        if known.reader is not None and known.reader.names.number == number:
            known.reader.view()
            return known.reader
        try:
            generation = known.names.generation(number)
            reader = SealedReader(known.names.day, generation, opening=known.opening)
            reader.view()
        except UNREADABLE:
            # A still newer generation may have replaced this one meanwhile.
            if attempt == _RETRIES - 1 or read_pointer(known.names.current) == number:
                raise
        else:
            return reader
    return None


def _sealed_segment(view: SegmentView, before: Segment | None) -> Segment:
    if before is not None and before.view is view:
        return before
    if before is not None and before.view.generation == view.generation:  # the same rows, another index
        return Segment(view, before.tally, before.tables)
    return Segment(view, Tally().grown(view))


def _follow(known: DayFiles, listed: tuple[int, ...], through: int = 0) -> tuple[OpenFollower, ...]:
    """Followers of the segments after `through`, those there are already among them."""
    have = {follower.number: follower for follower in known.followers}
    followers = []
    for number in listed:
        if number <= through:
            continue
        follower = have.get(number)
        # A segment that shrank was cut back by a restart after a power cut: follow it anew.
        if follower is None or (follower.gone and known.names.segment(number).counts("metadata").exists()):
            follower = OpenFollower(known.names, number, known.opening.keys)
            follower.poll()
        followers.append(follower)
    return tuple(followers)


def _index_stamps(known: DayFiles) -> list[object]:
    if known.reader is None:
        return []
    return [_stamp(known.reader.names.index_current(name)) for name in INDICES]


def _stamp(path: Path) -> tuple[int, int] | None:
    """Changes whenever the file is replaced; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
