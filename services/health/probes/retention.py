"""What the days take, and what the limits make of that. Sizes and manifests are read now and then, no content."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from services.common.days.holds import read_book
from services.common.days.names import day_of
from services.common.days.stored import look_at_stored, size_of
from services.common.errors import AppiaError
from services.health.observation import Retention
from services.health.retention import Limits, Space, StoredDay, plan_retention

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from services.common.config.tree import HealthLive
    from services.common.days.holds import Book
    from services.common.days.names import DayNames, StateNames

_NS = 1_000_000_000


class RetentionLook:
    """Plans by what lies there. For one thread; a look blocks for some milliseconds, a tenth of a second for a year."""

    def __init__(self, state: StateNames) -> None:
        """Look at nothing yet."""
        self._state = state
        self._looked_ns: int | None = None
        self._of: tuple[object, ...] = ()  # what the last look was by
        self._found: Retention | None = None

    def look(
        self, live: HealthLive, now_ns: int, work: Hashable = None, *, may_drop: bool = True
    ) -> Retention | None:
        """What is to be done; None where it cannot be told, because the book or the folder of days cannot be read.

        It is looked again where the last look is `check_every_s` old, or the limits, the book or `work` are others,
        which is what was begun and has not ended: what was done shows at once then. No day goes without `may_drop`.
        """
        limits = limits_of(live)
        seen_s = None if self._looked_ns is None else (now_ns - self._looked_ns) / _NS
        by = (limits, _stamp(self._state.retention), work)
        is_fresh = seen_s is not None and 0 <= seen_s < live.check_every_s and by == self._of
        if not is_fresh:
            self._found = self._plan(limits, day_of(now_ns))
            self._looked_ns, self._of = now_ns, by
        return self._found if may_drop or self._found is None else replace(self._found, drops=())

    def _plan(self, limits: Limits, today: str) -> Retention | None:
        try:
            book = read_book(self._state.retention)
            days = stored_days(self._state, book)
            plan = plan_retention(days, space_of(self._state), limits, today)
        except (AppiaError, OSError):
            return None
        # Where days go for room by design, the oldest goes each day, and nobody has to be warned of it.
        is_usual = limits.retention_enabled and not limits.keep_days and book.dropped
        acts = limits.retention_enabled
        return Retention(
            days_left=None if is_usual else plan.days_left,
            days_that_fit=plan.days_that_fit,
            drops=plan.drops if acts else (),
            repacks=plan.repacks if acts else (),
        )


def _stamp(path: Path) -> tuple[int, int] | None:
    """Differs where the file was replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def limits_of(live: HealthLive) -> Limits:
    """The keys of the configuration that are about retention."""
    return Limits(
        retention_enabled=live.retention_enabled,
        keep_days=live.keep_days,
        keep_least_days=live.keep_least_days,
        keep_percent=live.keep_percent,
        keep_bytes=live.keep_bytes,
        quantise_after_days=live.quantise_after_days,
        quantise_to=live.quantise_to,
    )


def space_of(state: StateNames) -> Space:
    """The file system that the days lie on. Raises `OSError`."""
    days = state.root / "days"
    found = os.statvfs(days if days.is_dir() else state.root)
    return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def stored_days(state: StateNames, book: Book) -> list[StoredDay]:
    """Every day there is. One that cannot be read counts as not sealed, so that nothing is done to it."""
    return [_stored(state.day(day), book) for day in state.days()]


def _stored(names: DayNames, book: Book) -> StoredDay:
    going = {one.part for one in book.going if one.day == names.day}
    held = names.day in book.held
    try:
        found = look_at_stored(names)
    except (AppiaError, KeyError, TypeError, ValueError):
        return StoredDay(names.day, size_of(names.folder), sealed=False, held=held, going="" in going)
    on_their_way = {part.split("/")[1] for part in going if part}
    leftover = {index: size for index, size in found.leftover.items() if index not in on_their_way}
    return StoredDay(
        day=found.day,
        bytes=found.bytes,
        sealed=found.sealed,
        held=held,
        going="" in going,
        packable=found.packable,
        leftover=leftover,
    )
