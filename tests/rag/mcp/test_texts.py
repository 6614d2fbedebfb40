"""The short text of an answer: what it says, its bounds, and a fence that no event can close."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.rag.mcp.answers import MAX_ANSWER, fitted, refusal_of, result_of
from services.rag.mcp.texts import MAX_TEXT, text_of
from services.rag.mcp.tools import NOTICE

NONCE = "5f1c0ffee0ddba11"
RECEIPT = {
    "days": ["2026-01-20"],
    "rows": 7,
    "missing": [],
    "partial": False,
    "newest_event": "2026-01-20T23:00:00.000000Z",
    "generations": {"2026-01-20": 1},
    "as_of": "2026-01-20:1 #de478720187d",
    "took_ms": 1.0,
}


def event(number: int, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"e-{number}",
        "src_ip": "10.0.0.1",
        "dst_ip": "10.0.0.2",
        "narrative": "Inbound traffic.",
        "class": "BENIGN",
        "tags": "",
        "overall": 0.30000001192092896,
        "day": "2026-01-20",
        "segment": "sealed-000001",
        "row": number,
        **more,
    }


def inside(text: str) -> list[str]:
    """The lines between the fence, which is where it has to be."""
    notice, opening, *lines, closing = text.split("\n")
    assert (notice, opening, closing) == (NOTICE, f"<<<data {NONCE}", f"{NONCE} data>>>")
    return lines


def test_each_thing_is_a_line() -> None:
    """Events come without where they lie, examples without what their group says, and with a receipt."""
    group = {
        "narrative": "Inbound traffic.",
        "scores": {"attack": 0.5},
        "count": 2,
        "examples": [event(1, node="n-1"), event(2, narrative="Other.")],
    }
    answer = {"groups": [group], "patterns": 1, "next": None, "receipt": RECEIPT}
    said = {
        "event_id": "e-1",
        "src_ip": "10.0.0.1",
        "dst_ip": "10.0.0.2",
        "class": "BENIGN",
        "overall": 0.3,
    }
    examples = [said, {**said, "event_id": "e-2", "narrative": "Other."}]
    assert [json.loads(line) for line in inside(text_of(answer, NONCE))] == [
        {"groups": {"narrative": "Inbound traffic.", "count": 2, "examples": examples}},
        {"patterns": 1},
        {
            "receipt": {
                "rows": 7,
                "days": ["2026-01-20"],
                "missing": [],
                "partial": False,
                "newest_event": "2026-01-20T23:00:00.000000Z",
                "as_of": "2026-01-20:1 #de478720187d",
            }
        },
    ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    )
)
def test_no_event_can_leave_the_fence(value: Any) -> None:
    """Whatever an answer has in it, every line inside is JSON, and the last line alone closes the fence."""
    result = result_of({"events": [value], "detail": value, "receipt": RECEIPT}, NONCE)
    (block,) = result.content
    assert block.type == "text"
    for line in inside(block.text):
        assert NONCE not in line
        json.loads(line)


def test_a_long_answer_has_a_short_text() -> None:
    """Small parts are whole, large ones share the room; what is left out is counted, and the receipt is there."""
    hours = [{"hour": number, "narratives": ["x" * 300]} for number in range(700)]
    changes = [{"hour": number, "why": "y" * 300} for number in range(500)]
    answer = {"host": "10.0.0.1", "hours": hours, "changes": changes, "receipt": RECEIPT}
    lines = inside(text_of(answer, NONCE))
    assert sum(map(len, lines)) < MAX_TEXT + 200
    kept = [json.loads(line) for line in lines if line.startswith("{")]
    counts = {key: sum(key in line for line in kept) for key in answer}
    assert counts["host"] == counts["receipt"] == 1
    assert min(counts["hours"], counts["changes"]) > 15
    assert f"({700 - counts['hours']} more in the structured answer)" in lines
    assert f"({500 - counts['changes']} more in the structured answer)" in lines


def test_one_thing_that_is_too_long_is_cut() -> None:
    """An event of many fields shows the first of them."""
    answer = {"event": {f"field{number}": "x" * 900 for number in range(60)}, "receipt": RECEIPT}
    cut, receipt = inside(text_of(answer, NONCE))
    assert cut.startswith('{"event": {"field0": "xxx')
    assert cut.endswith(" (cut)")
    assert "receipt" in json.loads(receipt)


def test_long_receipts_are_said_briefly() -> None:
    """Of many days the first and the last, of many gaps the first five and how many more."""
    missing = [{"day": f"day-{number}", "index": "attack", "reason": "lags"} for number in range(9)]
    receipt = {
        **RECEIPT,
        "days": ["2026-01-01", "x", "y", "2026-01-04"],
        "missing": missing,
        "as_of": "z" * 5000,
    }
    (line,) = inside(text_of({"receipt": receipt}, NONCE))
    said = json.loads(line)["receipt"]
    assert said["days"] == "2026-01-01 to 2026-01-04: 4"
    assert (said["missing"], said["more_missing"]) == (missing[:5], 4)
    assert "as_of" not in said


def test_an_answer_of_any_size_fits() -> None:
    """The largest list loses its last entries, as few as needed, and their number is said; nothing else changes."""
    answer = {"event": event(0), "hits": [event(n) for n in range(3000)], "few": [1, 2], "receipt": RECEIPT}
    small = fitted({**answer, "next": "what follows the last of them"})
    kept = len(small["hits"])
    assert small == {**answer, "hits": answer["hits"][:kept], "left_out": {"hits": 3000 - kept}}, "no next"
    assert MAX_ANSWER * 0.95 < len(json.dumps(small, separators=(",", ":"))) <= MAX_ANSWER
    whole = {"hits": answer["hits"][:10], "next": "what follows", "receipt": RECEIPT}
    assert fitted(whole) == whole


def test_refusals_are_one_harmless_line() -> None:
    """The sentence of a replica may have words of an attacker in it."""
    result = refusal_of("There is no event 'a\n\u202e\x1b[31mb'.")
    (block,) = result.content
    assert result.is_error
    assert block.type == "text"
    assert block.text == "There is no event 'a \ufffd[31mb'."
