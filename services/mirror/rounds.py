"""The work of a mirror, in rounds: first what is open, then a piece of what is sealed, and again.

every poll     newest days, open segments, remarks, decisions
every look     all days, chain, retention; what goes; mirror.json
in between     sealed days and models, piece by piece, so that an open day never waits for a long pull
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.common.days.held import Held, write_held
from services.common.days.holds import Book
from services.common.durable import is_full
from services.common.errors import AppiaError
from services.mirror.models import pull_models
from services.mirror.source import BadSource, SourceAway
from services.mirror.told import Status

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from services.common.days.names import StateNames
    from services.common.durable import Disk
    from services.common.observing.beats import Beats
    from services.mirror.faults import Faults
    from services.mirror.open_days import OpenDays
    from services.mirror.pace import Pace
    from services.mirror.sealed_days import SealedDays
    from services.mirror.shared import SharedFiles
    from services.mirror.source import Source
    from services.mirror.survey import Survey, There

LOOK_S = 5.0
_POLLS = 5
"""So many polls come between two looks, where that is less."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
LOOP = "rounds"
_SOURCE, _DISK = "source", "disk"


@dataclass(frozen=True)
class Clocks:
    """Seconds that never go back, and nanoseconds since 1970."""

    monotonic: Callable[[], float]
    wall_ns: Callable[[], int]


@dataclass(frozen=True)
class Parts:
    """What the rounds drive. `local` and `remote` are the state directories here and there."""

    local: StateNames
    remote: StateNames
    disk: Disk
    source: Source
    pace: Pace
    survey: Survey
    open_days: OpenDays
    sealed_days: SealedDays
    shared: SharedFiles
    faults: Faults


class Rounds:
    """Runs in one thread; `status` is for any."""

    def __init__(self, parts: Parts, url: str, poll_s: float, clocks: Clocks) -> None:
        """Say that nothing was pulled yet, unless a mirror of before said more; `url` names the source."""
        self._parts, self._url, self._poll_s, self._clocks = parts, url, poll_s, clocks
        self._work: Iterator[None] = iter(())
        self._look_s = min(LOOK_S, _POLLS * poll_s)
        self._looked_at = -LOOK_S
        self._whole_at = clocks.monotonic()
        self._held = Held(url, reached=False)
        self._book = Book()
        self._status = Status()

    @property
    def status(self) -> Status:
        """How it is now."""
        behind_s = self._clocks.monotonic() - self._whole_at
        return replace(
            self._status,
            behind_s=behind_s if behind_s > 2 * self._poll_s else 0.0,
            bytes=self._parts.pace.bytes,
            faults=self._parts.faults.sentences,
        )

    def begin(self, held: Held | None) -> None:
        """Take up what a mirror of before said of the days here, for replicas to know while the source is away.

        Raises `OSError`.
        """
        self._held = Held(self._url, reached=False) if held is None else held
        write_held(self._parts.disk, self._parts.local.mirror, self._held)

    def run(self, stop: threading.Event, beats: Beats) -> None:
        """Go round until `stop` is set. A source that is away, or a full disk, is waited for."""
        pause_s = FIRST_PAUSE_S
        beats.beat(LOOP)
        while not stop.is_set():
            try:
                self.round(stop, beats)
                self._parts.faults.clear(_DISK)
                pause_s = FIRST_PAUSE_S
            except (AppiaError, OSError) as error:
                part = _SOURCE if isinstance(error, SourceAway | BadSource) else _DISK
                self._parts.faults.note(part, _said(error))
                self._work = iter(())
                beats.beat(LOOP)
                stop.wait(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        self._parts.open_days.close()

    def round(self, stop: threading.Event, beats: Beats) -> None:
        """One poll, and work on what is sealed until the next is due. Raises what `Source` and `Disk` do."""
        started = self._clocks.monotonic()
        is_whole = started >= self._looked_at + self._look_s

        def go_on() -> bool:
            beats.beat(LOOP)
            return not stop.is_set()

        def has_time() -> bool:
            return go_on() and self._clocks.monotonic() < started + self._poll_s

        self._poll(go_on, is_whole=is_whole)
        self._pull_shared(has_time, is_whole=is_whole)
        self._parts.faults.clear(_SOURCE)
        if is_whole:
            self._look()
            self._looked_at = started
        self._note_whole()
        while has_time():
            if next(self._work, self) is self:
                stop.wait(max(started + self._poll_s - self._clocks.monotonic(), 0))

    def _poll(self, go_on: Callable[[], bool], *, is_whole: bool) -> None:
        parts = self._parts
        parts.survey.look(whole=is_whole)
        parts.open_days.poll({place for one in self._there() for place in self._open_of(one)}, go_on)

    def _pull_shared(self, has_time: Callable[[], bool], *, is_whole: bool) -> None:
        """What speaks of all days: at least a part of it, and more while the next poll is not due."""
        parts = self._parts
        for part, pull in (
            (
                "feedback",
                lambda: parts.shared.pull_logs(parts.local.feedback_files, parts.remote.feedback_files),
            ),
            ("decisions", lambda: parts.shared.pull_logs(parts.local.decisions, parts.remote.decisions)),
        ):
            self._try(part, pull, has_time)
        if is_whole:
            self._try("chain", parts.shared.pull_chain, has_time)
            self._try("retention", self._pull_book, has_time)

    def _pull_book(self) -> bool:
        self._book = self._parts.shared.pull_book()
        return False

    def _try(self, part: str, pull: Callable[[], bool], go_on: Callable[[], bool]) -> None:
        """Pull a part until there is no more of it; what is wrong with it alone is noted."""
        faults = self._parts.faults
        if not faults.is_due(part):
            return
        try:
            while pull() and go_on():
                pass
        except SourceAway:
            raise
        except (AppiaError, OSError) as error:
            faults.note(part, _said(error))
        else:
            faults.clear(part)

    def _there(self) -> list[There]:
        return list(self._parts.survey.days.values())

    def _open_of(self, there: There) -> list[tuple[str, int]]:
        """The segments of a day that no generation has, of those at the source."""
        if not there.segments or self._parts.sealed_days.is_left_out(there.day):
            return []
        through = self._parts.sealed_days.through(there) or 0
        return [(there.day, number) for number in there.segments if number > through]

    def _look(self) -> None:
        """Decide what is held, say so, let go of the rest, and begin to pull what is lacking."""
        parts = self._parts
        parts.sealed_days.choose(parts.survey.days)
        self._tell()
        self._remove()
        parts.faults.forget_days(
            {one.day for one in self._there() if not parts.sealed_days.is_left_out(one.day)}
        )
        if next(self._work, self) is self:
            self._work = self._lacking()

    def _lacking(self) -> Iterator[None]:
        """All work on what does not change, days first."""
        parts = self._parts
        yield from parts.sealed_days.work(lambda: parts.survey.days, self._tell)
        if not parts.faults.is_due("models"):
            return
        try:
            yield from pull_models(parts.source, parts.disk, parts.local, parts.remote)
        except SourceAway:
            raise
        except (AppiaError, OSError) as error:
            parts.faults.note("models", _said(error))
        else:
            parts.faults.clear("models")

    def _tell(self) -> None:
        """Write which days are not held, before any of them goes."""
        lacking = {**self._lost_sight_of(), **{one.day: self._why_lacking(one) for one in self._there()}}
        held = Held(self._url, reached=True, not_held={day: why for day, why in lacking.items() if why})
        if held != self._held:
            write_held(self._parts.disk, self._parts.local.mirror, held)
            self._held = held

    def _lost_sight_of(self) -> dict[str, str]:
        """Days that were said to be not held and that the source does not list now: that proves nothing."""
        if self._held.source != self._url:
            return {}
        dropped = {one.day for one in self._book.dropped}
        return {day: why for day, why in self._held.not_held.items() if day not in dropped}

    def _why_lacking(self, there: There) -> str:
        found = self._parts.sealed_days.lacking(there)
        if found or not self._parts.open_days.missing_rows(there.day):
            return found
        faults = [self._parts.faults.of(f"{there.day} open {number}") for number in there.segments]
        said = next(filter(None, faults), "")
        return said and f"not all of it is held here yet: {said}"

    def _remove(self) -> None:
        """Days that the source dropped, days for which there is no room, and segments that others replaced."""
        parts = self._parts
        for day in parts.local.days():
            there = parts.survey.days.get(day)
            is_dropped = day in {one.day for one in self._book.dropped}
            if is_dropped and (there is None or (there.generation is None and not there.segments)):
                parts.sealed_days.evict(day)
            elif parts.sealed_days.is_left_out(day):
                parts.open_days.let_go(day, parts.local.day(day).segments())
                parts.sealed_days.evict(day)
            elif there is not None:
                self._remove_segments(there)

    def _remove_segments(self, there: There) -> None:
        """Segments that the source replaced by a later one, as its recovery does; never because of an empty list."""
        through = self._parts.sealed_days.through(there)
        if through is None:
            return  # those that are lacking there may be in the generation that is not here yet
        for number in self._parts.local.day(there.day).segments():
            if number not in there.segments and through < number < max(there.segments, default=0):
                self._parts.open_days.remove((there.day, number))

    def _note_whole(self) -> None:
        """Note whether everything that the source shows is here."""
        parts = self._parts
        there = self._there()
        missing = any(parts.open_days.missing_rows(one.day) for one in there)
        lacking = any(
            parts.sealed_days.lacking(one) for one in there if not parts.sealed_days.is_left_out(one.day)
        )
        if not missing and not lacking:
            self._whole_at = self._clocks.monotonic()
        self._status = replace(
            self._status,
            reached=True,
            last_pull_ns=self._clocks.wall_ns(),
            days_held=len(parts.local.days()),
            days_left_out=len(self._held.not_held),
        )


def _said(error: AppiaError | OSError) -> str:
    if isinstance(error, OSError) and is_full(error):
        return f"The disk of this mirror is full ({error.strerror}): what is here is served on, nothing more is pulled."
    return str(error)
