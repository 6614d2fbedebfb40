"""Drops a sealed day, in steps of which each may be the last before a crash: the next start goes on.

    the intake takes no more of it  ->  written into the book  ->  signed as removed  ->  CURRENT goes
    ->  nobody reads it any more  ->  its folder vanishes by one rename  ->  its files go  ->  crossed out in the book

Nothing is deleted that a replica still reads (`services/common/days/leases.py`): replicas let go when they see that
CURRENT is gone, and one that hangs keeps the files until it goes on or ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.chain.link import REMOVED
from services.common.chain.state import DayState
from services.common.days.holds import Book, Dropped, Going
from services.common.days.leases import alone_with
from services.common.days.manifest import read_manifest
from services.common.days.names import day_of
from services.common.days.stored import size_of
from services.common.days.versions import served_generation
from services.common.errors import AppiaError
from services.ingester.holding import iso
from services.ingester.jobs import Kind
from services.ingester.jobs_versions import tell_end

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.common.days.names import DayNames, StateNames
    from services.ingester.jobs import Job
    from services.ingester.sealing_jobs import JobTools

DROP = "drop"
LOOK_AGAIN_S = 2.0
"""How often it is looked whether a day that is still read may be deleted."""


@dataclass(frozen=True)
class _Seen:
    """When a day that waits was looked at last, and what was said of it."""

    at_s: float
    said: str


class Dropping:
    """Drops days. `check` is for any thread, all else for that of the jobs."""

    def __init__(self, state: StateNames, tools: JobTools, finish_part: Callable[[Going], str]) -> None:
        """Drop nothing yet; `finish_part` lets a part of a day go, as `_finish` does a day."""
        self._state, self._tools, self._keeper = state, tools, tools.keeper
        self._finish_part = finish_part
        self._seen: dict[Going, _Seen] = {}

    def kind(self) -> Kind:
        """Dropping, as a kind of work. It does not yield: it is what helps where the disk is full."""
        return Kind(DROP, self.check, self._work, tell_end(self._tools.report))

    def check(self, day: str, _args: Mapping[str, Any]) -> dict[str, Any]:
        """Refuse what may not be dropped.

        Raises:
            AppiaError: the day is held, not over, not sealed, gone, or has events that are not sealed.
        """
        book = self._keeper.book()
        if Going(day) not in book.going:
            self._refuse(day, book)
        return {}

    def go_on(self) -> None:
        """Take up what a crash broke off or a reader held up. What cannot be done now is told once, and tried again."""
        try:
            going = self._keeper.book().going
        except AppiaError:
            return  # said at the start, and to everybody who asks
        for one in going:
            seen = self._seen.get(one)
            if seen is None or self._tools.monotonic() >= seen.at_s + LOOK_AGAIN_S:
                self._try(one)

    def _work(self, job: Job) -> None:
        going = Going(job.day)
        if going not in self._keeper.book().going:
            self._decide(job.day)
        job.step = "deleting"
        waits = self._finish(going)
        dropped = next(one for one in self._keeper.book().dropped if one.day == job.day)
        job.report = {"rows": dropped.rows, "bytes": dropped.bytes, "waits": waits}

    def _refuse(self, day: str, book: Book) -> None:
        if day in book.refused:
            raise AppiaError(f"Day {day} was dropped already.")
        holds = book.holds_of(day)
        if holds:
            cases = ", ".join(f"{hold.case} ({hold.who})" for hold in holds)
            raise AppiaError(f"Day {day} is held for {cases}: `appia hold {day} --release` lets it go.")
        if day >= day_of(self._tools.clock()):
            raise AppiaError(f"Day {day} is not over.")
        names = self._state.day(day)
        served_generation(names)
        if names.segments():
            raise AppiaError(f"Day {day} has events that are not sealed yet: `appia seal {day}` does that.")

    def _decide(self, day: str) -> None:
        """Write down that a day goes: from here on nobody turns back."""
        self._refuse(day, self._keeper.book())
        self._tools.signing.links().state_of(day)  # a chain that is damaged is found before anything is done
        self._tools.receiver.call(lambda: self._tools.intake.drop(day))
        try:
            self._keeper.change(lambda book: self._decided(book, day))
        except BaseException:
            self._tools.receiver.call(lambda: self._tools.intake.take_again(day))
            raise

    def _decided(self, book: Book, day: str) -> Book:
        self._refuse(day, book)  # once more, now that nobody else writes into the book
        names = self._state.day(day)
        rows = read_manifest(served_generation(names).chunk).rows
        dropped = Dropped(day, iso(self._tools.clock()), rows, size_of(names.folder))
        return book.with_going(Going(day)).with_dropped(dropped)

    def _try(self, going: Going) -> None:
        try:
            said = self._finish_part(going) if going.part else self._finish(going)
        except (AppiaError, OSError) as error:
            said = str(error)
        before = self._seen.pop(going, None)
        if said:
            self._seen[going] = _Seen(self._tools.monotonic(), said)
            if before is None or before.said != said:
                self._tools.report("drop_waits", {"day": going.day, "part": going.part, "why": said})

    def _finish(self, going: Going) -> str:
        """Do what is left to be done; gives what it waits for, empty where the day is gone."""
        names = self._state.day(going.day)
        self._sign(names)
        if names.current.exists():
            self._tools.disk.remove(names.current)
            self._tools.disk.sync_folder(names.sealed_folder)
        with alone_with(names.folder) as is_alone:
            if not is_alone:
                return "a replica still reads it"
            if names.folder.exists():
                self._tools.disk.remove(names.folder)
        self._tools.disk.clear_going(names.folder.parent)  # what a crash left
        self._keeper.change(lambda book: book.without_going(going))
        return ""

    def _sign(self, names: DayNames) -> None:
        links = self._tools.signing.links()
        known = links.state_of(names.day)
        if known is not None and known.served is not None:
            links.append(REMOVED, DayState(names.day, None))
