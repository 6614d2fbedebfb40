"""How commands print: one JSON document, or text for people in which no event can steer the terminal."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, JustifyMethod

# Wide enough that no cell of a table is folded when the output is a file or a pipe.
PIPE_WIDTH = 600


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


def console() -> Console:
    """The console for text on standard output."""
    from rich.console import Console  # noqa: PLC0415 - with --json nothing of rich is needed

    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; a column whose name begins with ">" is aligned to the right.

    In a narrow terminal cells are folded, but for those of the last column, which is to be copied.
    """
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify: JustifyMethod = "right" if column.startswith(">") else "left"
        whole = column == columns[-1]
        table.add_column(column.removeprefix(">"), justify=justify, overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    out = console()
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as capture:
        out.print(table)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def print_lines(*lines: str) -> None:
    """Print lines of text as they are, made safe for a terminal."""
    for line in lines:
        sys.stdout.write(plain(line) + "\n")
