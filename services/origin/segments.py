"""Publishes a segment of an open day: data before the counters that say how much of it counts.

Counters are read first and put last, so what they count is there before them. Where files can grow, what is new is
added at each look. Vectors that are changed in place too (those that have `INDEX.rewritten`) are put whole after a
pause, and the notes that tell readers what changed after them. A new log means that a writer has started anew and may
have cut files back: all are put whole then. Where files cannot grow, all that changed are put whole after the pause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.origin.source import put_small

if TYPE_CHECKING:
    from services.origin.source import Source
    from services.origin.stores import Store

_COUNTER = ".count"
_LOG = ".log"
_NOTES = ".rewritten"
_VECTORS = ".f32"
_SMALL = (".json", ".settled")


class Segment:
    """One segment, for one thread. `path` is that of its folder."""

    def __init__(self, path: str, source: Source, store: Store) -> None:
        """Nothing is looked at yet."""
        self._path = path
        self._source = source
        self._store = store
        self._put_s: float | None = None
        self._changed: dict[str, int] = {}  # by name, when the file had changed that was put whole

    def publish(self, now_s: float, every_s: float) -> None:
        """Bring it up to date; whole files only where `every_s` seconds have gone by since. Blocks.

        Raises:
            OSError: the place fails.
        """
        names = self._source.names(self._path)
        late = {name: self._source.whole(self._at(name)) for name in names if _is_late(name)}
        is_due = self._put_s is None or now_s - self._put_s >= every_s
        if not self._store.appends and not is_due:
            return
        there = self._store.sizes(self._path)
        logs = [name for name in self._source.names(self._path) if name.endswith(_LOG)]
        known = [name for name in there if name.endswith(_LOG)]
        anew = not self._store.appends or any(name > max(known) for name in logs if known)
        data = [name for name in names if not _is_late(name) and name not in logs]
        for name in [*data, *logs]:
            in_place = name.endswith(_VECTORS) and name.removesuffix(_VECTORS) + _NOTES in names
            if name.endswith(_SMALL):
                self._source.refresh(self._store, self._at(name))
            elif anew or (in_place and is_due):
                self._put(name, there.get(name))
            else:
                self._source.grow(self._store, self._at(name), there.get(name), in_place=in_place)
        self._put_late(late, whole=anew or is_due)
        if is_due or anew:
            self._put_s = now_s

    def _put(self, name: str, there: int | None) -> None:
        """Put a file whole if it changed since it was put, or is not there in its size."""
        changed, size = self._source.mtime_ns(self._at(name)), self._source.size(self._at(name))
        if size >= 0 and (self._changed.get(name) != changed or size != there):
            self._store.put(self._at(name), self._source.chunks(self._at(name), 0, size))
            self._changed[name] = changed

    def _put_late(self, late: dict[str, bytes | None], *, whole: bool) -> None:
        """Counters, and before them what tells of changes in place, as it was before those were put."""
        for name in sorted(late, key=lambda one: one.endswith(_COUNTER)):
            content = late[name]
            if content is not None and (name.endswith(_COUNTER) or whole):
                put_small(self._store, self._at(name), content)

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"


def _is_late(name: str) -> bool:
    return name.endswith((_COUNTER, _NOTES))
