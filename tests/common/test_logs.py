"""Log lines are JSON in plain ASCII, whatever an attacker put into a field."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import TYPE_CHECKING, TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.journal import say_wrong
from services.common.logs import LONGEST, make_logger

if TYPE_CHECKING:
    from pathlib import Path


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


def place_of(stream: TextIO) -> str:
    """What systemd writes into JOURNAL_STREAM where the stream is the journal."""
    status = os.fstat(stream.fileno())
    return f"{status.st_dev}:{status.st_ino}"


@pytest.mark.parametrize(
    ("level", "prefix"), [("info", "<6>{"), ("warning", "<4>{"), ("error", "<3>{"), ("critical", "<2>{")]
)
def test_the_journal_is_told_how_urgent_a_line_is(tmp_path: Path, level: str, prefix: str) -> None:
    """By the prefix of sd-daemon(3), which the journal takes off again; the rest is the line as ever."""
    with (tmp_path / "journal").open("w+") as stream:
        log = make_logger("rag", stream, {"JOURNAL_STREAM": place_of(stream)})
        getattr(log, level)("seen", rows=1)
        stream.seek(0)
        line = stream.read()
    assert line.startswith(prefix)
    assert json.loads(line.removeprefix(prefix[:-1]))["level"] == level


@pytest.mark.parametrize("told", ["", "1:2", "nonsense"])
def test_a_stream_that_is_not_the_journal_has_no_prefix(tmp_path: Path, told: str) -> None:
    """A service whose output somebody leads into a file inherits the variable all the same."""
    with (tmp_path / "file").open("w+") as stream:
        make_logger("rag", stream, {"JOURNAL_STREAM": told}).error("seen")
        stream.seek(0)
        assert stream.read().startswith("{")


def test_the_sentence_that_a_program_ends_with_has_the_priority_of_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`journalctl -p err` shows why a service does not start."""
    with (tmp_path / "journal").open("w+") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        say_wrong("appia-rag", "there is no key", {"JOURNAL_STREAM": place_of(stream)})
        say_wrong("appia-rag", "there is no key", {})
        stream.seek(0)
        assert stream.read() == "<3>appia-rag: there is no key\nappia-rag: there is no key\n"


@given(st.text(max_size=3), st.integers(LONGEST // 12, LONGEST), st.integers(0, 20))
def test_a_line_is_never_cut_in_two(unit: str, times: int, others: int) -> None:
    """What is too long is shortened inside the object, the longest values only, so that it stays JSON."""
    stream = io.StringIO()
    facts = {f"short_{number}": "kept" for number in range(others)}
    make_logger("rag", stream).info("seen", what=unit * times, many=[unit] * (times // 8), **facts)
    line = stream.getvalue()
    assert len(line) <= LONGEST
    entry = json.loads(line)
    assert entry["event"] == "seen"
    assert all(entry[name] == "kept" for name in facts)
    assert entry["what"].startswith((unit * times)[:100])
