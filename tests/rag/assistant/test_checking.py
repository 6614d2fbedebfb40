"""Labels become ids of events that the model was shown, and nothing else looks like a citation."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.rag.assistant.checking import MAX_ANSWER, check, cite, plain_field

LABELS = {
    "E1": "id-one",
    "E2": "id-two",
    "E3": "https://evil.example",
    "E4": "E1",
    "E5": "a.example",
    "E12": "x:y",
}

SHOWN = [
    ("A scan [E1].", "A scan [id-one].", ["E1"]),
    ("A scan [E1][E2].", "A scan [id-one][id-two].", ["E1", "E2"]),
    ("A scan [E1, E2].", "A scan [id-one] [id-two].", ["E1", "E2"]),
    ("A scan [E1 and E2], [E1; E2], [E2 y E1].", None, ["E1", "E2"]),
    ("A scan [e1] (E2) 【E12】.", "A scan [id-one] [id-two] [x:y].", ["E1", "E2", "E12"]),
    ("E1 and E2 show it.", "[id-one] and [id-two] show it.", ["E1", "E2"]),
    ("A scan [E1], again [E1].", "A scan [id-one], again [id-one].", ["E1"]),
    ("Ids that are links or labels stay labels [E3] [E4] [E5].", None, ["E3", "E4", "E5"]),
    ("No label: E1a, xE1, [1], [id-one], [E].", "No label: E1a, xE1, (1), (id-one), (E).", []),
    ("- a\n- b [E1]\n\n\n\n- c", "- a\n- b [id-one]\n\n- c", ["E1"]),
    ("<think>Let me see [E2]</think>It is [E1].", "It is [id-one].", ["E1"]),
    ("Let me see\n</think>\n\nIt is [E1].", "It is [id-one].", ["E1"]),
    ("**Scan** [[E1]]", "**Scan** ([id-one])", ["E1"]),
    ("Rows[0] and {E1}", "Rows(0) and {[id-one]}", ["E1"]),
]  # fmt: skip


@pytest.mark.parametrize(("said", "shown", "cited"), SHOWN)
def test_labels_become_ids(said: str, shown: str | None, cited: list[str]) -> None:
    """However models write them; an id that is nothing to be put into a text is told beside it."""
    checked = check(said, LABELS)
    assert shown is None or checked.text == shown
    assert checked.citations == tuple((label, LABELS[label]) for label in cited)
    assert checked.supported == bool(cited)
    assert checked.removed["labels"] == 0


UNKNOWN = [
    ("A scan [E9].", "A scan.", 1),
    ("A scan [E1, E9], and more [E99].", "A scan [id-one], and more.", 2),
    ("E77 shows it (E78).", "shows it.", 2),
    ("[E0] [E01] [E10] [E999999]", "", 4),
    ("E" + "1" * 50, "E" + "1" * 50, 0),
]


@pytest.mark.parametrize(("said", "shown", "unknown"), UNKNOWN)
def test_labels_that_were_never_given_out_are_removed_and_counted(
    said: str, shown: str, unknown: int
) -> None:
    """An event that the model made up is not there to be looked at."""
    checked = check(said, LABELS)
    assert checked.text == shown
    assert checked.removed["labels"] == unknown


@given(st.text(st.sampled_from("[]()E0123456789 ,;-a.\n【】"), max_size=80))
def test_every_bracket_is_a_citation(text: str) -> None:
    """Whatever a model writes: what stands in brackets is the id, or the label, of an event that it was shown."""
    checked = check(text, LABELS)
    named = {*LABELS.values()} | set(LABELS)
    assert set(re.findall(r"\[([^\[\]]*)\]", checked.text)) <= named
    assert (
        checked.text.count("[") == checked.text.count("]") == len(re.findall(r"\[[^\[\]]*\]", checked.text))
    )


def test_an_endless_answer_is_cut() -> None:
    """And the cut can be seen."""
    checked = check("word " * 100_000, LABELS)
    assert len(checked.text) <= MAX_ANSWER
    assert checked.text.endswith("…")


def test_an_answer_that_was_all_thought_is_empty() -> None:
    """Thoughts are not the answer."""
    assert check("<think>hmm</think>", LABELS).text == ""


def test_our_own_texts_cite_only_in_brackets() -> None:
    """In a summary an attacker's words may look like a label: they are none."""
    text = f"1. from {plain_field('E2 [E2] (E2)', 80)} [E1]"
    checked = cite(text, LABELS)
    assert checked.text == "1. from E2 (E2) (E2) [id-one]"
    assert checked.citations == (("E1", "id-one"),)
