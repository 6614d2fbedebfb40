"""How commands print: one JSON document, or text for people in which no event can steer the terminal."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from services.cli.look import Styled, look_of
from services.cli.tables import prose_lines, table_lines

if TYPE_CHECKING:
    from collections.abc import Sequence


def print_json(document: Any) -> None:
    """Print one JSON document on standard output; all but ASCII is escaped, so it is safe on any terminal."""
    sys.stdout.write(json.dumps(document, allow_nan=False) + "\n")


def say(sentence: str) -> None:
    """Print one line of news on standard error, where it is not part of the answer."""
    sys.stderr.write(f"appia: {plain(sentence)}\n")
    sys.stderr.flush()


def plain(text: object) -> str:
    r"""`text` with every character that a terminal could obey spelled out, such as `\x1b`.

    Events are written by attackers: https://cwe.mitre.org/data/definitions/150.html.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text)
    )


def counted(number: int, thing: str) -> str:
    """A number and what it counts, in the plural where that is right."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, see `tables` for the names of columns; on a terminal it fits, elsewhere no cell is ever folded."""
    look = look_of(sys.stdout, os.environ)
    safe = [[_safe(cell) for cell in row] for row in rows]
    sys.stdout.writelines(f"{line}\n" for line in table_lines(columns, safe, look))


def print_lines(*lines: object) -> None:
    """Print lines of text as they are, made safe for a terminal."""
    look = look_of(sys.stdout, os.environ)
    for line in map(_safe, lines):
        sys.stdout.write(look.paint(str(line), line.style) + "\n")


def print_prose(*lines: object) -> None:
    """Print sentences, made safe for a terminal, and there folded between words."""
    look = look_of(sys.stdout, os.environ)
    for line in map(_safe, lines):
        for part in prose_lines(str(line), look.width):
            sys.stdout.write(look.paint(part, line.style) + "\n")


def _safe(cell: object) -> Styled:
    return Styled(plain(cell), cell.style if isinstance(cell, Styled) else None)
