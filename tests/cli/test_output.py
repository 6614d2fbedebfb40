"""What is printed is one JSON document, or text that no event can steer."""

from __future__ import annotations

import json
import re
import sys
from io import StringIO

import pytest

from services.cli.look import Style, Styled
from services.cli.output import plain, print_json, print_lines, print_prose, print_table


class Terminal(StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_control_characters_are_spelled_out() -> None:
    """Escape sequences, line ends and direction marks in an event do nothing to a terminal."""
    assert plain("a\x1b[2Jb\nc\u202ed\x9b") == r"a\x1b[2Jb\nc\u202ed\x9b"
    assert plain("años 日本") == "años 日本"


def test_a_table_shows_cells_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither markup nor control characters in a cell are obeyed."""
    print_table(["name", ">count"], [["[red]x[/red]\x1b[31m", 5]])
    out = capsys.readouterr().out
    assert r"[red]x[/red]\x1b[31m" in out
    assert "\x1b" not in out
    assert out.splitlines()[0].split() == ["name", "count"]


def test_lines_are_safe(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line stays one line."""
    print_lines("one\ntwo", "three")
    assert capsys.readouterr().out == "one\\ntwo\nthree\n"


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """All but ASCII is escaped, and a number that JSON has no form for is a fault and not output."""
    print_json({"a": "\x1bé"})
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == {"a": "\x1bé"}
    with pytest.raises(ValueError, match="JSON"):
        print_json(float("nan"))


@pytest.mark.parametrize("width", ["12", "200"])
def test_colours_are_all_that_a_terminal_is_told(monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    """Cells, labels below a row and prose of an attacker stay words, wherever they are folded; colours are ours."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.delenv("NO_COLOR", raising=False)
    hostile = "\x1b[31m\x1b]0;owned\x07 and \x9b2J \n\r"
    print_table(["~from", "!event"], [[Styled(hostile, Style.BAD), Styled(hostile, Style.GOOD)]])
    print_lines(Styled(hostile, Style.QUIET), hostile)
    print_prose(Styled(hostile, Style.QUIET), hostile)
    told = terminal.getvalue()
    assert "\x1b[31m" in told
    ours = re.sub("\x1b\\[(?:0|1|2|31|32)m", "", told)
    assert [char for char in ours if not char.isprintable() and char != "\n"] == []
