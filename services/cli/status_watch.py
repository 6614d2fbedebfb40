"""Shows something anew every two seconds: in place on a terminal, one after the other in a pipe."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from services.cli.look import look_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.cli.look import Look

    Lines = Callable[[Look], list[str]]
    Pause = Callable[[], bool]

EVERY_S = 2.0


def watch(lines: Lines, pause: Pause) -> None:
    """Show the lines again and again; `pause` waits for the next time and says whether there is one.

    `lines` is told what the terminal can show at that moment: somebody may have made it larger.
    """
    if sys.stdout.isatty():
        _in_place(lines, pause)
        return
    more = True
    while more:
        sys.stdout.write("\n".join([*lines(look_of(sys.stdout, os.environ)), "", ""]))
        sys.stdout.flush()
        more = pause()


def _in_place(lines: Lines, pause: Pause) -> None:
    from rich.console import Console  # noqa: PLC0415 - only where somebody looks
    from rich.live import Live  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    def screen() -> Text:
        height = os.get_terminal_size(sys.stdout.fileno()).lines
        shown = lines(look_of(sys.stdout, os.environ))
        if len(shown) > height:
            shown = [*shown[: height - 1], "... the rest has no room here"]
        return Text.from_ansi("\n".join(shown))

    with Live(screen(), console=Console(), screen=True, auto_refresh=False) as live:
        while pause():
            live.update(screen(), refresh=True)
