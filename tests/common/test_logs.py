"""Log lines are JSON in plain ASCII, whatever an attacker put into a field."""

from __future__ import annotations

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from services.common.logs import make_logger


@given(st.text())
def test_any_text_stays_one_printable_line(text: str) -> None:
    """Control characters, DEL, line ends and direction marks are escaped; reading gives the text back."""
    stream = io.StringIO()
    make_logger("rag", stream).info("seen", node=text)
    line = stream.getvalue()
    assert line.endswith("\n")
    assert all(" " <= character <= "~" for character in line[:-1])
    entry = json.loads(line)
    assert (entry["node"], entry["service"], entry["level"], entry["event"]) == (text, "rag", "info", "seen")


def test_an_exception_is_part_of_the_line() -> None:
    """A traceback is text inside the object, not lines of its own."""
    stream = io.StringIO()
    try:
        int("no\x1b")
    except ValueError:
        make_logger("rag", stream).exception("failed")
    assert "ValueError" in json.loads(stream.getvalue())["exception"]
    assert stream.getvalue().count("\n") == 1
