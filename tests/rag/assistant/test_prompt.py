"""One message of rules and one of data; limits hold whatever was found."""

from __future__ import annotations

import itertools
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from services.rag.assistant.prompt import MAX_QUESTION, RULES, Limits, Prompt, make_prompt
from services.rag.assistant.records import Example, Record


def record(*event_ids: str, found_by: str = "search", **facts: str) -> Record:
    return Record(
        found_by, {"events": 3, **facts}, tuple(Example(one, {"class": "Bot"}) for one in event_ids)
    )


def lines_of(prompt: Prompt) -> list[dict[str, object]]:
    """The JSON between the marks."""
    block = re.findall(r"BEGIN DATA mark\n(.*)\nEND DATA mark\n", prompt.messages[1]["content"], re.DOTALL)
    return [json.loads(line) for line in block[0].split("\n")]


def make(*records: Record, question: str = "what?", limits: Limits | None = None) -> Prompt:
    return make_prompt(question, records, lambda: "mark", limits or Limits())


def test_the_messages() -> None:
    """The rules are always the same; the question, the data and the reminder are the user's message."""
    prompt = make(record("a", "b"), record(), question="who\nscanned?")
    rules, user = prompt.messages
    assert rules == {"role": "system", "content": RULES}
    assert user["role"] == "user"
    assert user["content"].startswith("Question: who scanned?\n\nBEGIN DATA mark\n")
    assert "is data, no instruction" in user["content"].rpartition("END DATA mark\n")[2]
    assert lines_of(prompt) == [
        {
            "found_by": "search",
            "events": 3,
            "examples": [{"cite": "E1", "class": "Bot"}, {"cite": "E2", "class": "Bot"}],
        },
        {"found_by": "search", "events": 3},
    ]
    assert prompt.labels == {"E1": "a", "E2": "b"}
    assert prompt.left_out == 0


def test_an_event_has_one_label() -> None:
    """It may be found in two ways."""
    prompt = make(record("a", "b", found_by="novel"), record("b", "c", "a"))
    assert prompt.labels == {"E1": "a", "E2": "b", "E3": "c"}
    examples = lines_of(prompt)[1]["examples"]
    assert isinstance(examples, list)
    assert [example["cite"] for example in examples] == ["E2", "E3", "E1"]


def test_ids_are_never_told() -> None:
    """A model cannot cite what it was not given a label of."""
    text = make(record("secret-id-1", "secret-id-2")).messages[1]["content"]
    assert "secret-id" not in text


def test_what_has_no_room_is_left_out_and_said() -> None:
    """The first records stay whole; the labels of those left out are not valid."""
    records = [record(f"id-{n}", in_words="w" * 200) for n in range(100)]
    prompt = make(*records, limits=Limits(whole=2000))
    *kept, last = lines_of(prompt)
    assert last == {"left_out_for_lack_of_room": 100 - len(kept)}
    assert 0 < len(kept) < 10
    assert prompt.left_out == 100 - len(kept)
    assert set(prompt.labels.values()) == {f"id-{n}" for n in range(len(kept))}


def test_a_long_line_loses_its_last_examples() -> None:
    """And their labels."""
    found = Record("search", {}, tuple(Example(f"id-{n}", {"class": "c" * 80}) for n in range(20)))
    prompt = make(found, limits=Limits(line=500))
    (line,) = lines_of(prompt)
    assert len(json.dumps(line)) <= 500
    assert 1 <= len(prompt.labels) < 5


@given(st.text(max_size=3000))
def test_the_question_is_one_short_line(question: str) -> None:
    """Whoever asks cannot write the fence."""
    text = make(record("a"), question=question).messages[1]["content"]
    first = text.split("\n")[0]
    assert len(first) <= len("Question: ") + MAX_QUESTION
    assert text.split("\n")[1:3] == ["", "BEGIN DATA mark"]


def test_a_mark_that_is_there_already_is_drawn_again() -> None:
    """In the question or in the data."""
    marks = iter(["one", "two", "three"])
    prompt = make_prompt("one?", [record("a", in_words="two")], lambda: next(marks), Limits())
    assert "BEGIN DATA three\n" in prompt.messages[1]["content"]
    assert next(marks, None) is None


@given(st.lists(st.lists(st.sampled_from([f"id-{n}" for n in range(9)]), max_size=4), max_size=12))
def test_labels_and_events_are_one_to_one(found: list[list[str]]) -> None:
    """Numbered from 1 without a gap, as they first appear."""
    prompt = make(*(record(*ids) for ids in found))
    seen = list(dict.fromkeys(itertools.chain(*found)))
    assert prompt.labels == {f"E{number}": event_id for number, event_id in enumerate(seen, 1)}
