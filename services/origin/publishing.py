"""Publishes days to a place that mirrors pull from: what is immutable first, the pointers at it last.

The place looks like the state directory. What is there is asked and not written down, so a publisher that was killed
goes on where it was. A file that is there in its size is whole, because files appear whole (`stores.py`); what grows is
compared by its last bytes. Nothing goes but what the state directory has let go: a day that `retention.json` names as
dropped, generations and segments that a newer generation of that day has replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.days.holds import read_book
from services.common.days.layout import check_layout
from services.common.days.names import INDICES, StateNames, number_name, parse_number, read_pointer
from services.common.errors import AppiaError
from services.common.rpc import NotFound
from services.origin.remembering import RememberingStore
from services.origin.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from services.common.days.names import DayNames
    from services.origin.source import Source
    from services.origin.stores import Store

ASK_EVERY_S = 3600.0
"""So often the place is asked what it has, also where nothing failed."""
_LOGS = ("feedback", "decisions")
_LINKS, _BOOK = "chain/links.jsonl", "retention.json"


class Publisher:
    """Brings a place up to date, again and again. For one thread."""

    def __init__(self, root: Path, source: Source, store: Store, open_every_s: float) -> None:
        """Nothing is looked at yet; `source` reads the files below `root`.

        Whole files of open days are put every `open_every_s` seconds at most.
        """
        self._state = StateNames(root)
        self._source = source
        self._store = RememberingStore(store)
        self._asked_s: float | None = None
        self._open_every_s = open_every_s
        self._whole: set[str] = set()
        """Folders that never change and are there whole."""
        self._segments: dict[str, Segment] = {}

    def publish(self, now_s: float) -> None:
        """Bring everything up to date; `now_s` never goes back, seconds. Blocks for as long as that takes.

        Raises:
            OSError: the place fails or is away.
            AppiaError: the state directory is away or damaged; what was published stays.
        """
        if self._asked_s is None or now_s - self._asked_s >= ASK_EVERY_S:
            self._ask_anew()
            self._asked_s = now_s
        try:
            self._all(now_s)
        except OSError:  # what became of the last write is not known
            self._ask_anew()
            raise

    def _ask_anew(self) -> None:
        self._store.forget()
        self._whole.clear()

    def _all(self, now_s: float) -> None:
        check_layout(self._state)
        self._store.check()
        self._refresh("VERSION")
        self._models()
        self._refresh(_LINKS)
        damaged = self._days(now_s)
        for word in _LOGS:
            self._logs(word)
        self._drop_days()
        self._refresh(_BOOK)
        if damaged is not None:
            raise damaged

    def _days(self, now_s: float) -> AppiaError | None:
        """Every day, the newest first; gives why one of them cannot be published, which keeps no other back."""
        damaged = None
        for day in reversed(self._state.days()):
            try:
                self._day(self._state.day(day), now_s)
            except NotFound:  # it changes under us: the next look sees it as it is then
                continue
            except AppiaError as error:
                damaged = error
        return damaged

    def _refresh(self, path: str) -> None:
        self._source.refresh(self._store, path)

    def _models(self) -> None:
        for name in self._source.names("models"):
            for sha256 in self._source.names(f"models/{name}"):
                if sha256 != "ACTIVE":
                    self._immutable(f"models/{name}/{sha256}")
            self._refresh(f"models/{name}/ACTIVE")

    def _day(self, day: DayNames, now_s: float) -> None:
        """A day: its sealed generation whole before the pointer at it, and then without what that replaces."""
        base = f"days/{day.day}"
        generation = read_pointer(day.current)
        if generation is not None:
            folder = f"{base}/sealed/{number_name(generation)}"
            self._generation(folder)
            self._refresh(f"{base}/sealed/CURRENT")
        for number in day.segments():
            path = f"{base}/open/{number_name(number)}"
            segment = self._segments.setdefault(path, Segment(path, self._source, self._store))
            segment.publish(now_s, self._open_every_s)
        self._drop_replaced(f"{base}/open", day.segments(), sealed=generation is not None)
        self._drop_replaced(f"{base}/sealed", day.generations(), sealed=generation is not None)

    def _generation(self, folder: str) -> None:
        """The events of a generation, and each index with the version that is served, before the pointer at it."""
        self._immutable(f"{folder}/chunk")
        for index in INDICES:
            version = parse_number(self._source.text(f"{folder}/{index}/CURRENT").strip())
            if version is None:
                continue
            self._immutable(f"{folder}/{index}/{number_name(version)}")
            self._refresh(f"{folder}/{index}/CURRENT")
            versions = {parse_number(name) for name in self._source.names(f"{folder}/{index}")}
            self._drop_replaced(f"{folder}/{index}", versions - {None}, sealed=True)

    def _immutable(self, folder: str) -> None:
        """All files of a folder whose files never change."""
        if folder in self._whole:
            return
        there = self._store.sizes(folder)
        for name in self._source.names(folder):
            path = f"{folder}/{name}"
            size = self._source.size(path)
            if there.get(name) != size:
                self._store.put(path, self._source.chunks(path, 0, size))
        self._whole.add(folder)

    def _logs(self, word: str) -> None:
        """Logs that grow at their end; the oldest ones go where newer ones are there."""
        names = self._source.names(word)
        there = self._store.sizes(word)
        for name in names:
            self._source.grow(self._store, f"{word}/{name}", there.get(name))
        for name in sorted(there):
            if names and name not in names and name < names[0]:
                self._store.remove(f"{word}/{name}")

    def _drop_replaced(self, folder: str, kept: Iterable[int | None], *, sealed: bool) -> None:
        """Remove numbered folders that the state directory has no more. Without a sealed generation nothing goes."""
        if not sealed:
            return
        stay = set(kept)
        for name in self._numbered(folder):
            if parse_number(name) not in stay:
                self._store.remove(f"{folder}/{name}")
                self._forget(f"{folder}/{name}")

    def _numbered(self, folder: str) -> Iterator[str]:
        return (name for name in sorted(self._store.sizes(folder)) if parse_number(name) is not None)

    def _drop_days(self) -> None:
        """Remove the days that were dropped: by name, and never because a folder is empty."""
        book = read_book(self._state.retention)
        there = set(self._state.days())
        for day in {one.day for one in book.dropped} - there:
            if day in self._store.sizes("days"):
                self._store.remove(f"days/{day}")
                self._forget(f"days/{day}")

    def _forget(self, folder: str) -> None:
        below = f"{folder}/"
        self._whole = {one for one in self._whole if not f"{one}/".startswith(below)}
        self._segments = {
            path: one for path, one in self._segments.items() if not f"{path}/".startswith(below)
        }
