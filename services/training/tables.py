"""Tables in Markdown of what an evaluation found, for terminals and for the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SHARES = 4
"""Classes of neighbours that are named; what is left is summed up."""


def confusion_table(confusion: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Lines of a table: of which classes the neighbours of each class are, the most frequent first."""
    rows = []
    for name, shares in confusion.items():
        told = [f"{_cell(other)} {share:.1%}" for other, share in list(shares.items())[:SHARES]]
        rest = sum(list(shares.values())[SHARES:])
        told += [f"others {rest:.1%}"] if rest else []
        rows.append([_cell(name), ", ".join(told) or "none"])
    yield from table(["class", "its neighbours are"], rows)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table; its cells are taken as they are."""
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _cell(text: str) -> str:
    """A class as a cell: attackers write labels, so nothing in it may end the cell or mark it up."""
    plain = "".join(char if char.isprintable() else "?" for char in text)
    return "".join(f"\\{char}" if char in "\\|`*_[]<>" else char for char in plain)
