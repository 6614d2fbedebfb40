"""Compares what a command printed with what the guide shows.

The same has to be each word, in order. Loose are

* `...` alone on a line: any number of lines, also none;
* `...` in a line: anything but the end of the line, also nothing;
* how many blanks stand between words, and at the ends of lines and of the output;
* measured times and rates: a number before ` ms`, ` s`, ` events/s`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ANY = "..."
_MEASURED = re.compile(r"\b[0-9][0-9.,]*(?= (?:ms|s|events/s)\b)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def differs(expected: Sequence[str], printed: str) -> str:
    """The first line that the output does not have, or the first that it has besides; empty where it is the same."""
    wanted = _tidy(expected)
    got = _tidy(_COLOURS.sub("", printed).splitlines())
    missing = _first_missing(wanted, got)
    if missing is None:
        return ""
    return f"the guide shows\n    {missing}\nand the command printed\n" + "\n".join(
        f"    {line}" for line in got
    )


def _tidy(lines: Sequence[str]) -> list[str]:
    """Lines with single blanks and no times, without empty ones (a terminal's width decides where those are)."""
    tidied = (_MEASURED.sub("#", " ".join(line.split())) for line in lines)
    return [line for line in tidied if line]


def _pattern(line: str) -> str:
    """`a ... b` is also `a b`."""
    return ".*".join(map(re.escape, line.split(ANY))).replace(r"\ .*\ ", r"\ (?:.*\ )?")


def _first_missing(wanted: list[str], got: list[str]) -> str | None:
    at = 0
    free = False  # whether lines may be left out here
    for line in wanted:
        if line == ANY:
            free = True
            continue
        pattern = re.compile(_pattern(line))
        places = range(at, len(got)) if free else range(at, min(at + 1, len(got)))
        found = next((number for number in places if pattern.fullmatch(got[number])), None)
        if found is None:
            return line
        at, free = found + 1, False
    return None if free or at == len(got) else f"nothing more than the {at} lines before: {got[at]}"
