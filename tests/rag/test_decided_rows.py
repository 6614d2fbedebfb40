"""The rows that decisions stand for are remembered as long as nothing new is about their day, and are never old."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.days.columns import pack_address
from services.common.days.names import day_start_ns
from services.common.decisions.book import Book
from services.common.decisions.record import Taken
from services.common.events.network_security_pb2 import Detection
from services.rag import decisions
from services.rag.decisions import DecidedRows

if TYPE_CHECKING:
    import pytest

DAY = "2026-01-22"
BEGIN = day_start_ns(DAY)
S, HOUR = 10**9, 3600
ADDRESSES = ("192.0.2.1", "192.0.2.2")


class Events:
    """Stands for the files of a segment."""


@dataclass
class View:
    """What of a segment decisions are joined to: an event every half an hour, from one address to the other."""

    day: str = DAY
    rows: int = 48
    events: Events = field(default_factory=Events)
    texts: tuple[str, ...] = ("DDoS",)

    def __post_init__(self) -> None:
        packed = b"".join(map(pack_address, ADDRESSES))
        self.addresses = np.frombuffer(packed, np.uint8).reshape(-1, 16)
        zeros = np.zeros(self.rows, np.uint16)
        self.columns = {
            "time_ns": BEGIN + np.arange(self.rows) * 1800 * S,
            "src_ip": zeros,
            "dst_ip": zeros + 1,
            "class": zeros,
            "category": zeros,
        }


def decide(book: Book, at_s: int, action: str, lasts_s: int, address: str = ADDRESSES[0]) -> None:
    one = Detection(src_ip=address, timestamp=BEGIN + at_s * S, action=action, duration_seconds=lasts_s)
    book.add([(book.end, Taken(0, "", 600, [one]))])


def found(rows: DecidedRows, view: Any, book: Book) -> list[list[int]]:
    return [one.tolist() for one in rows.of(view, book.page())]


_DECIDED = st.tuples(
    st.integers(-2 * 86_400, 3 * 86_400),
    st.sampled_from(["BLOCK", "allow", "", "log"]),
    st.sampled_from([60, 7200, 3 * 86_400]),
    st.sampled_from(ADDRESSES),
    st.integers(0, 3),
)


@settings(max_examples=150, deadline=None)
@given(decided=st.lists(_DECIDED, min_size=1, max_size=15))
def test_what_is_remembered_is_what_would_be_found(decided: list[tuple[int, str, int, str, int]]) -> None:
    """Whatever comes, in whatever order of time, and whatever is removed: also a release of days ago that came late."""
    book, kept, view = Book(), DecidedRows(), View()
    for at_s, action, lasts_s, address, forgotten in decided:
        decide(book, at_s, action, lasts_s, address)
        book.forget(min(book.first + forgotten, book.end - 1))
        assert found(kept, view, book) == found(DecidedRows(), view, book)


def test_what_is_about_other_days_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are looked at again for a decision about the day, and for none about the day after it."""
    book, kept, view = Book(), DecidedRows(), View()
    looks: list[int] = []
    look = decisions.covered_rows
    monkeypatch.setattr(decisions, "covered_rows", lambda *given: looks.append(1) or look(*given))
    decide(book, 10 * HOUR, "BLOCK", HOUR)
    assert found(kept, view, book) == [[20, 21], []]
    decide(book, 30 * HOUR, "BLOCK", HOUR)
    decide(book, -9 * HOUR, "BLOCK", HOUR)
    assert (found(kept, view, book), len(looks)) == ([[20, 21], []], 1)
    decide(book, 12 * HOUR, "BLOCK", HOUR)
    assert (found(kept, view, book), len(looks)) == ([[20, 21, 24, 25], []], 2)
