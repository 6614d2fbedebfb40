"""Takes out of a text what a browser, a chat program or a Markdown reader would turn into something else than text.

No event holds the address of a web page, so an answer has no reason to show one: it could only have come from a text
that an attacker chose, or have been made up to carry something away.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

REMOVED = "(link removed)"
_ROUNDS = 20  # what is taken out may leave something new behind; more nesting is cut to bits at the end

_IMAGE = re.compile(r"!\[[^\[\]]*\](?:\([^()]*\)|\[[^\[\]]*\])?")
_LINK = re.compile(r"\[([^\[\]]*)\]\([^()]*\)")
_TAG = re.compile(r"<[!/?a-zA-Z][^<>]*>")
_OPENED = re.compile(r"<(?=[!/?a-zA-Z])|!(?=\[)|(?<=\])\(")
_URL = re.compile(
    r"""\b[a-z][a-z0-9+.\-]{0,30}:[/\\]{2}\S*        # any scheme with //
    |\b(?:javascript|vbscript|data|mailto|tel|sms|file|blob|about|magnet|view-source):\S+
    |(?<![\w/\\:])[/\\]{2}[\w\[]\S*                  # relative to the scheme
    |\bwww\d?\.\S+
    |(?<![\w.\-])[\w\-]+(?:\.[\w\-]+)*\.[^\W\d_]{2,}(?::\d+)?[/?\#]\S*  # a name and a path
    |\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?:/(?!\d{1,3}\b)|\?)\S+  # an address and a path; 10.0.0.0/8 is a network
    """,
    re.IGNORECASE | re.VERBOSE,
)
_LEFT = re.compile(r":(?=[/\\]{2})|[/\\](?=[/\\])")
_DOT = re.compile(r"[.\u3002\uff0e\uff61]")  # all four separate the labels of a name (RFC 3490, 3.1)
_NAME = re.compile(r"(?<![\w\-])[\w\-]++(?:[.\u3002\uff0e\uff61][\w\-]++)+")
_TOP = re.compile(r"[^\W\d_][\w\-]+")


@dataclass
class Taken:
    """How many of each were taken out."""

    links: int = 0
    markup: int = 0


def without_links(text: str, taken: Taken) -> str:
    """`text` without images, links, tags and addresses of web pages; names of hosts as `evil(.)example`.

    Entities such as `&lt;` become what they stand for. What was taken out is counted in `taken`.
    """
    for _ in range(_ROUNDS):
        before = text
        text = _once(html.unescape(text), taken)
        if text == before:
            break
    return _NAME.sub(_spelt, _LEFT.sub(" ", _OPENED.sub(" ", text)))


def _spelt(found: re.Match[str]) -> str:
    """A name of a host so that nothing makes a link of it; other words with dots, such as "e.g", as they are."""
    labels = _DOT.split(found[0])
    return "(.)".join(labels) if any(map(_TOP.fullmatch, labels[1:])) else found[0]


def _once(text: str, taken: Taken) -> str:
    text, images = _IMAGE.subn(REMOVED, text)
    text, links = _LINK.subn(r"\1", text)
    text, tags = _TAG.subn("", text)
    text, urls = _URL.subn(REMOVED, text)
    taken.links += images + links + urls
    taken.markup += tags
    return text
