"""The book of decisions: found by address over all runs, cut back to a moment, and forgotten from the oldest on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.common.days.columns import pack_address
from services.common.decisions.book import Book
from services.common.decisions.record import Taken
from services.common.events.network_security_pb2 import Detection

ADDRESSES = ("192.0.2.1", "192.0.2.0", "2001:db8::", "::1", "10.0.0.0")
_GROUP = st.lists(st.tuples(st.sampled_from(ADDRESSES), st.integers(0, 50)), min_size=1, max_size=9)


def _book(groups: list[list[tuple[str, int]]]) -> Book:
    book, number = Book(), 0
    for group in groups:
        made = [
            Detection(src_ip=ip, timestamp=at, action="BLOCK", description=f"{ip}@{at}") for ip, at in group
        ]
        book.add([(number, Taken(0, "test", 10, made))])
        number += len(made)
    return book


@given(groups=st.lists(_GROUP, min_size=1, max_size=8), data=st.data())
def test_a_page_finds_what_a_plain_list_has(groups: list[list[tuple[str, int]]], data: st.DataObject) -> None:
    """By address and in order of time, whatever the runs; cut to any span of numbers, or forgotten up to one."""
    book = _book(groups)
    plain = [one for group in groups for one in group]
    first = data.draw(st.integers(0, len(plain)))
    end = data.draw(st.integers(first, len(plain)))
    whole = book.page()
    pages = [(whole, 0, len(plain)), (whole.between(first, end), first, end)]
    book.forget(first)
    pages.append((book.page(), first, len(plain)))
    for page, low, high in pages:
        assert len(page) == high - low
        for address in ADDRESSES:
            found = page.of(pack_address(address))
            wanted = sorted((at, n) for n, (ip, at) in enumerate(plain) if ip == address and low <= n < high)
            assert [(int(one["time_ns"]), int(one["number"])) for one in found] == wanted
            assert [page.words[one["words"]].reason for one in found] == [
                f"{address}@{at}" for at, _ in wanted
            ]


@given(
    times=st.lists(st.integers(0, 60), min_size=1, max_size=20),
    asked=st.lists(st.integers(-20, 80), min_size=1, max_size=20),
    within=st.integers(0, 9),
)
def test_the_spans_around_decisions_hold_what_is_near_one(
    times: list[int], asked: list[int], within: int
) -> None:
    """As a plain loop says, over several runs."""
    page = _book([[("192.0.2.1", at)] for at in times]).page()
    near = page.around(within).hold(np.array(asked, np.int64))
    assert near.tolist() == [any(abs(at - one) <= within for at in times) for one in asked]


def test_known_addresses_are_found_among_others() -> None:
    """Also those that end with zero bytes, and one that no decision is about is not."""
    page = _book([[(address, 1)] for address in ADDRESSES]).page()
    others = ("192.0.2.2", "2001:db8::1", "::")
    table = b"".join(map(pack_address, (*others, *ADDRESSES)))
    assert page.known_among(np.frombuffer(table, np.uint8).reshape(-1, 16)).tolist() == [3, 4, 5, 6, 7]
