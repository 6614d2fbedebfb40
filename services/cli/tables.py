"""Lays out tables and prose for a line of given width.

What a column does where the width is not enough, and its alignment, are told by the first characters of its name:

- `>` aligned to the right;
- `!` moved below its row, behind its name, whole: so an event's id can always be copied;
- `~` folded into several lines of its cell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.cli.look import Look, Style, Styled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GAP = "  "
BELOW = "    "
LEAST_FOLDED = 8
LEAST_PROSE = 40
_HANGING = re.compile(r" *(?:- |\d+(?:-\d+)?(?:, \d+(?:-\d+)?)*: )?")


@dataclass(frozen=True)
class Column:
    """One column: its title, its marks, the width that its cells need, and that of its longest word."""

    title: str
    marks: str
    width: int
    word: int

    @classmethod
    def of(cls, name: str, cells: Sequence[str]) -> Column:
        """The column of a name with marks, as wide as its widest text."""
        title = name.lstrip(">!~")
        texts = (title, *cells)
        word = max(cells_of(word) for text in texts for word in text.split(" "))
        return cls(title, name[: len(name) - len(title)], max(map(cells_of, texts)), word)


@dataclass(frozen=True)
class Layout:
    """Which columns stand in the row, by their number, and which below it."""

    columns: Sequence[Column]
    inside: Sequence[int]
    below: Sequence[int]

    @property
    def width(self) -> int:
        """Of a whole row, in columns of the terminal."""
        return sum(self.columns[n].width for n in self.inside) + len(GAP) * max(len(self.inside) - 1, 0)


def table_lines(names: Sequence[str], rows: Sequence[Sequence[object]], look: Look) -> list[str]:
    """A table with a heading. Every text must be safe on a terminal: one line, nothing that a terminal obeys."""
    texts = [[str(cell) for cell in row] for row in rows]
    columns = [Column.of(name, [row[n] for row in texts]) for n, name in enumerate(names)]
    layout = _fitted(Layout(columns, range(len(columns)), ()), look.width)
    heading = [Styled(column.title, Style.HEAD) for column in columns]
    return [
        *_row_lines(layout, heading, look),
        *(
            line
            for row in rows
            for line in (*_row_lines(layout, row, look), *_below_lines(layout, row, look))
        ),
    ]


def prose_lines(line: str, width: int | None) -> list[str]:
    """A line folded between words, what follows below where its text begins. Words are never cut, so ids stay whole."""
    if width is None or cells_of(line) <= width:
        return [line]
    found = _HANGING.match(line)
    indent = found.end() if found else 0
    folded = _fold(line[indent:], max(width - indent, LEAST_PROSE), cut=False)
    return [f"{line[:indent] if number == 0 else ' ' * indent}{part}" for number, part in enumerate(folded)]


def cells_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - only where letters may be wide

    return cell_len(text)


def _fitted(layout: Layout, width: int | None) -> Layout:
    """A layout that is as wide as may be, where that can be reached."""
    for number in reversed(layout.inside):
        if width is None or layout.width <= width:
            return layout
        if "!" in layout.columns[number].marks:
            inside = [n for n in layout.inside if n != number]
            layout = replace(layout, inside=inside, below=[number, *layout.below])
    if width is None:
        return layout
    between_words = _folded(layout, width, [max(LEAST_FOLDED, column.word) for column in layout.columns])
    return _folded(between_words, width, [LEAST_FOLDED] * len(layout.columns))


def _folded(layout: Layout, width: int, least: Sequence[int]) -> Layout:
    """Make the widest of the columns that may be folded narrower, down to `least`, until the row fits."""
    columns = list(layout.columns)
    while layout.width > width:
        may = [n for n in layout.inside if "~" in columns[n].marks and columns[n].width > least[n]]
        if not may:
            break
        widest = max(may, key=lambda n: columns[n].width)
        columns[widest] = replace(columns[widest], width=columns[widest].width - 1)
        layout = replace(layout, columns=tuple(columns))
    return layout


def _row_lines(layout: Layout, row: Sequence[object], look: Look) -> Iterator[str]:
    """The cells of a row beside each other, over as many lines as the highest needs."""
    columns = [layout.columns[n] for n in layout.inside]
    parts = [_fold(str(row[n]), layout.columns[n].width, cut=True) for n in layout.inside]
    styles = [_style(row[n]) for n in layout.inside]
    for line in range(max(map(len, parts), default=0)):
        cells = [
            _aligned(part[line] if line < len(part) else "", column, style, look)
            for part, column, style in zip(parts, columns, styles, strict=True)
        ]
        yield GAP.join(cells).rstrip()


def _aligned(text: str, column: Column, style: Style | None, look: Look) -> str:
    space = " " * (column.width - cells_of(text))
    painted = look.paint(text, style)
    return f"{space}{painted}" if ">" in column.marks else f"{painted}{space}"


def _below_lines(layout: Layout, row: Sequence[object], look: Look) -> Iterator[str]:
    """What found no place in the row, as far as there is something, in lines that fit."""
    told = [
        (f"{layout.columns[n].title} {row[n]}", look.paint(str(row[n]), _style(row[n])), n)
        for n in layout.below
        if str(row[n])
    ]
    line, used = "", 0
    for text, painted, number in told:
        label = look.paint(layout.columns[number].title, Style.QUIET)
        needed = len(BELOW) + cells_of(text)
        if line and look.width is not None and used + needed > look.width:
            yield line
            line, used = "", 0
        line += f"{BELOW if not line else GAP}{label} {painted}"
        used += needed
    if line:
        yield line


def _fold(text: str, width: int, *, cut: bool) -> list[str]:
    """A text in lines of at most `width` columns, broken between words; longer words are cut where that is allowed."""
    if cells_of(text) <= width:
        return [text]
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if cells_of(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        *full, line = _cut(word, width) if cut else [word]
        lines += full
    return [*lines, line]


def _cut(word: str, width: int) -> list[str]:
    if cells_of(word) <= width:
        return [word]
    from rich.cells import chop_cells  # noqa: PLC0415 - only where something does not fit

    return chop_cells(word, width)


def _style(cell: object) -> Style | None:
    return cell.style if isinstance(cell, Styled) else None
