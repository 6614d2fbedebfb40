"""What stands of many remarks, at any moment of their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.feedback.book import Book
from services.common.feedback.remark import Remark, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Remark]

TP, FP = Verdict.TRUE_POSITIVE, Verdict.FALSE_POSITIVE


@pytest.mark.parametrize(
    ("said", "stands"),
    [
        (["tp"], ["tp"]),
        (["tp", "fp"], ["fp"]),
        (["tp", "seen before"], ["seen before", "tp"]),
        (["seen before", "tp"], ["tp"]),
        (["one", "two"], ["two", "one"]),
        (["tp", ""], []),
        (["tp", "", "fp"], ["fp"]),
        (["tp", "one", "fp", "two"], ["two", "fp"]),
    ],
)
def test_of_an_analyst_the_newest_verdict_stands_with_what_was_added(
    remark: Make, said: list[str], stands: list[str]
) -> None:
    """A verdict takes the place of all before it, a note adds to it, a withdrawal leaves nothing."""
    book = Book()
    for number, says in enumerate(said):
        book.add(remark(number, says))
    short = {TP: "tp", FP: "fp"}
    found = [short[one.verdict] if one.verdict else one.note for _, one in book.page().standing("e-1")]
    assert found == stands


def test_analysts_stand_beside_each_other(remark: Make) -> None:
    """What one withdraws leaves standing what the other said, and both verdicts are known."""
    book = Book()
    for number, (who, says) in enumerate([("ana", "tp"), ("bob", "fp"), ("ana", "why")]):
        book.add(remark(number, says, who))
    before = book.page()
    book.add(remark(9, "", "ana"))
    assert before.verdicts == {"e-1": (FP, TP)}
    assert book.page().verdicts == {"e-1": (FP,)}


def test_an_id_counts_once(remark: Make) -> None:
    """A remark that was written twice, because its answer was lost, is one."""
    book = Book()
    assert [book.add(remark(1)), book.add(remark(1)), len(book)] == [True, False, 1]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.sampled_from(["tp", "fp", "x", ""]), st.sampled_from(["e-1", "e-2"])
        ),
        max_size=20,
    ),
    st.integers(0, 20),
)
def test_a_page_never_changes(said: list[tuple[str, str, str]], count: int) -> None:
    """What was known after the first n remarks is the same whatever came later."""
    verdicts = {"tp": TP, "fp": FP}
    remarks = [
        Remark(f"f-{n}", event_id, who, n, verdicts.get(says), says if says == "x" else "")
        for n, (who, says, event_id) in enumerate(said)
    ]
    short, whole = Book(), Book()
    for one in remarks[:count]:
        short.add(one)
    for one in remarks:
        whole.add(one)
    early = whole.page(count)
    assert early.verdicts == short.page().verdicts
    assert list(early.newest_first()) == list(short.page().newest_first())
    assert early.standing("e-1") == short.page().standing("e-1")
