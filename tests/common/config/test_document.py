"""The document of the configuration: its changes can be told and taken back, and it stays small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.config.document import (
    MOST_BYTES,
    MOST_CHANGES,
    Author,
    Document,
    changed,
    values_at,
)
from services.common.errors import UsageError

if TYPE_CHECKING:
    from services.common.config.tree import Value

ANA = Author("ana", "why", "2026-01-22T10:00:00+00:00")
KEYS = st.sampled_from(
    ["rag.waiting", "rag.weight_words", "ingester.compression", "health.retention_enabled"]
)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.floats(0, 9), st.text(max_size=3))


def test_a_change_says_who_what_when_and_why() -> None:
    """Before and after are kept by key, also that a key had no live value."""
    first = changed(Document(), 1, {"rag.waiting": 100}, ANA)
    second = changed(first, 2, {"rag.waiting": 200, "rag.weight_words": 2.0}, ANA)
    assert second.values == {"rag": {"waiting": 200, "weight_words": 2.0}}
    change = second.changes[-1]
    assert (change.revision, change.who, change.why, change.at) == (2, ANA.who, ANA.why, ANA.at)
    assert change.before == {"rag.waiting": 100, "rag.weight_words": None}
    assert change.after == {"rag.waiting": 200, "rag.weight_words": 2.0}


def test_what_changes_nothing_is_no_change() -> None:
    """The same values, or taking away what is not there, leave the document as it is."""
    document = changed(Document(), 1, {"rag.waiting": 100}, ANA)
    assert changed(document, 2, {"rag.waiting": 100, "rag.weight_words": None}, ANA) is document


def test_true_is_not_one() -> None:
    """A flag and a number are different values, though Python calls them equal."""
    document = changed(Document(), 1, {"health.retention_enabled": True}, ANA)
    assert changed(document, 2, {"health.retention_enabled": 1}, ANA) is not document


@given(st.lists(st.dictionaries(KEYS, VALUES, min_size=1, max_size=3), max_size=12))
def test_every_revision_can_be_gone_back_to(wishes: list[dict[str, Value | None]]) -> None:
    """After any changes, what each revision had can be told from the newest document, also as JSON gives it back."""
    document, history = Document(), {0: dict[str, "Value"]()}
    for wish in wishes:
        revision = len(history)
        after = changed(document, revision, wish, ANA)
        if after is not document:
            document = Document.model_validate_json(after.model_dump_json())
            history[revision] = document.flat()
    for revision, values in history.items():
        assert values_at(document, revision) == values


def test_the_oldest_changes_make_room() -> None:
    """At most 200 changes and 192 KiB are kept, and what they reach no more cannot be gone back to."""
    document = Document()
    for revision in range(1, MOST_CHANGES + 11):
        document = changed(document, revision, {"rag.waiting": revision}, ANA)
    assert [document.changes[0].revision, len(document.changes)] == [11, MOST_CHANGES]
    assert values_at(document, 10) == {"rag.waiting": 10}
    with pytest.raises(UsageError, match="revision 10 is the oldest"):
        values_at(document, 9)
    long = Author("ana", "\N{CJK UNIFIED IDEOGRAPH-660E}" * 400, ANA.at)
    for revision in range(MOST_CHANGES + 11, MOST_CHANGES + 211):
        wish = {f"rag.{key}": str(revision) * 60 for key in "abcdefgh"}
        document = changed(document, revision, wish, long)
    assert len(document.model_dump_json().encode()) <= MOST_BYTES
    assert document.changes[-1].revision == MOST_CHANGES + 210


def test_a_revision_that_never_was_is_told() -> None:
    with pytest.raises(UsageError, match="There is no revision 3; the newest is 1"):
        values_at(changed(Document(), 1, {"rag.waiting": 100}, ANA), 3)


@pytest.mark.parametrize(
    ("who", "why"), [("", ""), ("x" * 65, ""), ("ana", "x" * 401), ("ana", "\udcff"), ("a\x1b[2J", "")]
)
def test_an_author_has_a_short_name_and_a_short_note_of_what_can_be_printed(who: str, why: str) -> None:
    with pytest.raises(UsageError, match="characters"):
        Author(who, why, ANA.at)
