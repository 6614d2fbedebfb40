"""A book of retention that cannot be read is said in one sentence, and never taken for an empty one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.days.holds import Book, make_hold, read_book, to_bytes
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_book_comes_back_and_one_that_never_was_is_empty(tmp_path: Path) -> None:
    """What was written is read."""
    path = tmp_path / "retention.json"
    assert read_book(path) == Book()
    book = Book().with_hold(make_hold("2026-01-22", "smith", "ana", "ordered", "2026-01-23T00:00:00Z"))
    path.write_bytes(to_bytes(book))
    assert read_book(path) == book


def test_what_the_disk_does_not_give_holds_every_day(tmp_path: Path) -> None:
    """A file that cannot be opened is as one that is damaged: there may be holds in it."""
    with pytest.raises(AppiaError, match=r"cannot be used \(Is a directory\), so no day is dropped"):
        read_book(tmp_path)
