"""How commands print: one JSON document, or text for people in which no event can steer the terminal."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import JustifyMethod

# Wider than any row can be: the longest id has 256 characters.
TABLE_WIDTH = 2000


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
    """Print a table; a column whose name begins with ">" is aligned to the right.

    No cell is ever folded, so that an event's id can be copied; a narrow terminal wraps the line as a whole.
    """
    from rich.console import Console  # noqa: PLC0415 - with --json nothing of rich is needed
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify: JustifyMethod = "right" if column.startswith(">") else "left"
        table.add_column(column.removeprefix(">"), justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    console = Console(width=TABLE_WIDTH, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def print_lines(*lines: str) -> None:
    """Print lines of text as they are, made safe for a terminal."""
    for line in lines:
        sys.stdout.write(plain(line) + "\n")
