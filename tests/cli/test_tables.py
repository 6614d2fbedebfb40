"""Tables and prose fit the line they are given; what is to be copied stays whole; without a terminal nothing is cut."""

from __future__ import annotations

import re
from io import StringIO

import pytest

from services.cli.look import Look, Style, Styled, look_of
from services.cli.tables import cells_of, prose_lines, table_lines

NAMES = ["~from", ">!score", "!event"]
ROW = ["10.0.0.1 and 7 others", "0.50", "e" * 32]


class Terminal(StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_without_a_width_nothing_is_folded() -> None:
    """Programs and files get a row a line, however long."""
    assert table_lines(NAMES, [ROW], Look()) == [
        f"from                   score  {'event':32}".rstrip(),
        f"10.0.0.1 and 7 others   0.50  {'e' * 32}",
    ]
    long = " ".join(["word"] * 1000)
    assert prose_lines(long, None) == [long]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (62, ["from                   score  event", f"10.0.0.1 and 7 others   0.50  {'e' * 32}"]),
        (40, ["from                   score", "10.0.0.1 and 7 others   0.50", f"    event {'e' * 32}"]),
        (22, ["from", "10.0.0.1 and 7 others", "    score 0.50", f"    event {'e' * 32}"]),
        (10, ["from", "10.0.0.1", "and 7", "others", "    score 0.50", f"    event {'e' * 32}"]),
    ],
)
def test_a_narrow_table_moves_cells_below_and_then_folds(width: int, lines: list[str]) -> None:
    """The last column that may goes first, behind its name; only then are others folded, and ids never are."""
    assert table_lines(NAMES, [ROW], Look(width)) == lines


def test_nothing_is_said_below_where_there_is_nothing() -> None:
    """An empty cell that was moved is no line."""
    lines = table_lines(["from", "!category", "!event"], [["a" * 8, "", "e-1"], ["b", "", ""]], Look(8))
    assert lines == ["from", "aaaaaaaa", "    event e-1", "b"]


@pytest.mark.parametrize("width", range(1, 70))
def test_no_character_is_lost(width: int) -> None:
    """Whatever the width, the same letters are there in the same order; wide letters count as two columns."""
    row = ["2001:db8::1 日本語の名前 and 70,000 more", "0.99", "event-id"]
    lines = table_lines(NAMES, [row], Look(width))
    told = "".join(lines[1:]).replace("score", "").replace("event ", "")
    assert sorted(told.replace(" ", "")) == sorted("".join(row).replace(" ", ""))
    assert "event-id" in "\n".join(lines)
    folded = [line for line in lines if not line.startswith("    ")]
    if width > 8:
        assert max(map(cells_of, folded)) <= width


def test_prose_is_folded_where_its_text_begins() -> None:
    """A numbered line goes on below its text, a word that is too long stays whole."""
    narrative = "1-3, 5: " + "a scan of many ports " * 4
    first, *rest = prose_lines(narrative.strip(), 60)
    assert first.startswith("1-3, 5: a scan")
    assert [len(line) - len(line.lstrip()) for line in rest] == [8] * len(rest)
    assert all(len(line) <= 60 for line in (first, *rest))
    assert prose_lines(f"   such as {'e' * 100}", 60) == ["   such as", f"   {'e' * 100}"]


def test_colours_do_not_count() -> None:
    """A table with colours has the same letters in the same columns as without."""
    rows = [[Styled("BENIGN", Style.GOOD), "x"], [Styled("MALICIOUS", Style.BAD), "y"]]
    plain = table_lines([">class", "~to"], rows, Look(80))
    painted = table_lines([">class", "~to"], rows, Look(80, colours=True))
    assert "\x1b[31mMALICIOUS\x1b[0m" in painted[2]
    assert [re.sub("\x1b\\[\\d*m", "", line) for line in painted] == plain


@pytest.mark.parametrize(
    ("environ", "colours"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    environ: dict[str, str], *, colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`NO_COLOR` and a terminal that knows none switch them off; a pipe has neither colours nor a width."""
    monkeypatch.setenv("COLUMNS", "100")
    assert look_of(Terminal(), environ) == Look(100, colours)
    assert look_of(StringIO(), environ) == Look()
