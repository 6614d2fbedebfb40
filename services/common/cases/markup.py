"""HTML that is safe by how it is made: a text is escaped wherever it stands, and only `tag` makes what is not.

Pages are plain ASCII and well-formed XML too, so that no browser has to guess what was meant.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_EMPTY = frozenset({"meta", "br"})


@dataclass(frozen=True)
class Html:
    """A piece of a page. Made by `tag` and `joined`, never from a text of an event."""

    text: str


Child = Html | str | int | float | None


def tag(name: str, /, *children: Child, **attributes: str) -> Html:
    """An element; an attribute is named with `_` for `-`, and `class_` or `for_` where Python has the word itself."""
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"' for key, value in attributes.items()
    )
    if name in _EMPTY:
        return Html(f"<{name}{named}/>")
    return Html(f"<{name}{named}>{joined(children).text}</{name}>")


def joined(children: Iterable[Child]) -> Html:
    """Pieces one after the other; texts are escaped, None is nothing."""
    return Html(
        "".join(
            child.text if isinstance(child, Html) else escaped(str(child))
            for child in children
            if child is not None
        )
    )


def told(text: object) -> Html:
    """A text that others wrote: its direction cannot reach what stands beside it."""
    return tag("bdi", str(text))


def told_lines(text: str) -> Html:
    """The same, keeping its line breaks."""
    lines = [told(line) for line in text.splitlines()]
    return joined(piece for line in lines for piece in (line, tag("br")))


def escaped(text: str) -> str:
    r"""A text as ASCII in which nothing means anything to a browser, and what cannot be seen is spelled out (`\u202e`).

    https://html.spec.whatwg.org/multipage/parsing.html has the characters that count, in text and in quotes.
    """
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return html.escape(shown, quote=True).encode("ascii", "xmlcharrefreplace").decode("ascii")
