"""Which events of a segment are clearly benign, and the nearest of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.sampling import clearly_benign
from services.common.days.selection import Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.common.days.view import SegmentView
    from services.rag.scope import Part

MOST_KEPT_BYTES = 16 << 20
"""Of the marks of sealed days, one bit an event; those that nobody asked for go first."""
_JUDGED = ("class", "category", "label", "fast_triggered", "overall", "fast", "ml")


def are_benign(view: SegmentView, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of some rows of a segment are clearly benign, bool (len(rows),)."""
    columns: dict[str, NDArray[Any]] = {name: view.columns[name][rows] for name in _JUDGED}
    return clearly_benign(columns, view.texts)


class BenignRows:
    """The clearly benign rows of segments; those of sealed days are kept. Safe for several threads."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, NDArray[np.uint8]] = OrderedDict()  # by the identity of what is seen
        self._bytes = 0

    def of(self, part: Part, protocol: int) -> Selection:
        """Those rows of a part that are of a protocol (IANA number) too."""
        view = part.view
        marks = self._marks(view)
        marks &= view.columns["protocol"][: view.rows] == np.uint8(protocol)
        if part.chosen is not None:
            marks &= part.chosen.mask
        return Selection(view.rows, 0, marks)

    def _marks(self, view: SegmentView) -> NDArray[np.bool_]:
        with self._lock:
            if view.identity in self._kept:
                self._kept.move_to_end(view.identity)
                return np.unpackbits(self._kept[view.identity], count=view.rows).view(bool)
        columns: dict[str, NDArray[Any]] = {name: view.columns[name][: view.rows] for name in _JUDGED}
        marks = clearly_benign(columns, view.texts)
        if view.sealed:
            self._keep(view.identity, np.packbits(marks))
        return marks

    def _keep(self, key: str, packed: NDArray[np.uint8]) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = packed
                self._bytes += packed.nbytes
            while self._bytes > MOST_KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
