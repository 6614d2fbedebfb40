"""What a stream can show: how wide its lines are, and whether words may have colours."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping


class Style(StrEnum):
    """How a text stands out; the values select graphic rendition (ECMA-48, 8.3.117)."""

    HEAD = "1"
    QUIET = "2"
    BAD = "31"
    GOOD = "32"
    DOUBTFUL = "33"


@dataclass(frozen=True)
class Styled:
    """A text that stands out where that can be shown."""

    text: object
    style: Style | None

    def __str__(self) -> str:
        """The text alone."""
        return str(self.text)


@dataclass(frozen=True)
class Look:
    """What a stream can show."""

    width: int | None = None  # columns of a line; None where nobody has to fit into one
    colours: bool = False

    def paint(self, text: str, style: Style | None) -> str:
        """A text that is safe on a terminal, in a style where there are colours."""
        return f"\x1b[{style}m{text}\x1b[0m" if style and self.colours and text else text


def look_of(stream: TextIO, environ: Mapping[str, str]) -> Look:
    """What can be shown on a stream: on a terminal its width, and colours unless `NO_COLOR` is set; else no limit.

    https://no-color.org: any text but an empty one switches colours off.
    """
    if not stream.isatty():
        return Look()
    colours = not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"
    return Look(shutil.get_terminal_size().columns, colours)
