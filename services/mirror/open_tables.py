"""Copies the tables of an open segment, addresses and texts: as far as committed rows refer to them, no further."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.columns import ADDRESS_BYTES, ROW, unpack_texts
from services.mirror.appended import Appended
from services.mirror.source import BadSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.common.days.names import OpenNames
    from services.common.durable import Disk
    from services.mirror.source import Source

LONGEST_TEXT = 2 << 20
_AHEAD = 256 << 10
_ADDRESSES = ("src_ip", "dst_ip")
_TEXTS = ("class", "category", "label", "node", "narrative")


class Tables:
    """The two tables. For one thread; what is pulled is on disk after `sync`."""

    def __init__(
        self,
        disk: Disk,
        places: tuple[OpenNames, OpenNames],
        rows: NDArray[np.void],
        tags: NDArray[np.uint32],
    ) -> None:
        """Open both behind what the committed `rows` (of dtype `ROW`) and `tags` need; `places` are here and there."""
        local, remote = places
        self._remote = remote
        self.texts: list[str] = []
        needed = _needed(rows, tags)
        size = 0
        if local.symbols.exists():
            self.texts, size = unpack_texts(local.symbols.read_bytes(), needed[1])
        with ExitStack() as opened:
            self._addresses = opened.enter_context(
                closing(Appended(disk, local.addresses, remote.addresses, needed[0] * ADDRESS_BYTES))
            )
            self._symbols = opened.enter_context(closing(Appended(disk, local.symbols, remote.symbols, size)))
            opened.pop_all()

    def pull(self, source: Source, rows: NDArray[np.void], tags: NDArray[np.uint32]) -> None:
        """Pull what these rows and tags need. Raises as `Appended.fetch_exactly`."""
        addresses, texts = _needed(rows, tags)
        self._addresses.write(self._addresses.fetch_exactly(source, addresses * ADDRESS_BYTES))
        ahead = _AHEAD
        while len(self.texts) < texts:
            raw = self._symbols.fetch(source, self._symbols.size + ahead)
            found, size = unpack_texts(raw, texts - len(self.texts))
            if not found and (len(raw) < ahead or ahead > LONGEST_TEXT):
                raise BadSource(f"{self._remote.symbols} of the source lacks the text {len(self.texts)}.")
            ahead = _AHEAD if found else 2 * ahead
            self._symbols.write(raw[:size])
            self.texts += found

    def sync(self) -> None:
        """Block until both are on disk."""
        self._addresses.sync()
        self._symbols.sync()

    def close(self) -> None:
        """Close both."""
        self._addresses.close()
        self._symbols.close()


def _needed(rows: NDArray[np.void], tags: NDArray[np.uint32]) -> tuple[int, int]:
    """How many addresses and how many texts these refer to."""
    if not len(rows):
        return 0, int(tags.max()) + 1 if len(tags) else 0
    addresses = max(int(rows[name].max()) for name in _ADDRESSES)
    texts = max(int(rows[name].max()) for name in _TEXTS)
    return addresses + 1, max(texts, int(tags.max(initial=0))) + 1


def committed_rows(local: OpenNames, count: int) -> NDArray[np.void]:
    """The first `count` rows of the columns here, of dtype `ROW`, mapped."""
    return np.asarray(np.memmap(local.columns, ROW, "r", shape=(count,))) if count else np.empty(0, ROW)
