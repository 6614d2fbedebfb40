"""Numbers for what segments number each by itself: addresses and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.common.days.view import SegmentView

Key = TypeVar("Key", bytes, str)


def text_numbers(
    view: SegmentView, column: str, rows: NDArray[np.int64], numbers: dict[str, int]
) -> NDArray[np.int64]:
    """For some rows of a segment the number of the text in a column, int64 (len(rows),); new texts are added."""
    used, places = np.unique(view.columns[column][rows], return_inverse=True)
    return _numbered([view.texts[code] for code in used.tolist()], numbers)[places]


def host_numbers(
    addresses: NDArray[np.uint8], codes: NDArray[np.int64], numbers: dict[bytes, int]
) -> NDArray[np.int64]:
    """From numbers in a segment's table of addresses (n, 16) to those in `numbers`, int64; new hosts are added."""
    used, places = np.unique(codes, return_inverse=True)
    return _numbered([addresses[code].tobytes() for code in used.tolist()], numbers)[places]


def _numbered(keys: Sequence[Key], numbers: dict[Key, int]) -> NDArray[np.int64]:
    found = (numbers.setdefault(key, len(numbers)) for key in keys)
    return np.fromiter(found, np.int64, len(keys))
