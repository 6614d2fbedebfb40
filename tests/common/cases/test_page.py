"""The page of a case is opened as a strict parser does: it runs nothing, loads nothing, and shows texts as they are."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from services.common.cases.markup import escaped, tag
from services.common.cases.page import POLICY

if TYPE_CHECKING:
    from collections.abc import Sequence

ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "h3",
        "p",
        "div",
        "section",
        "bdi",
        "br",
        "code",
    ),
    *("table", "tbody", "tr", "th", "td", "details", "summary", "ul", "li"),
}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class"}


@pytest.fixture
def page(office: Any) -> str:
    """The page of a case in which every text is hostile."""
    with zipfile.ZipFile(io.BytesIO(office.case(0, 1, 2)[1])) as archive:
        return archive.read("index.html").decode("ascii")


class Strict(HTMLParser):
    """Reads a page as browsers do, but for what is not closed or stands where it may not: that fails."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.styles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"meta", "br"}
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.styles if self.open and self.open[-1] == "style" else self.texts).append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    handle_pi = unknown_decl = handle_comment


def read(page: str) -> Strict:
    parser = Strict()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def test_nothing_in_the_page_runs_or_loads(page: str) -> None:
    """Known elements and attributes only: no script, frame, picture, form or link, no attribute that is an address."""
    found = read(page).found
    assert {name for name, _ in found} <= ELEMENTS
    assert {key for _, attributes in found for key in attributes} <= ATTRIBUTES
    assert [attributes["http-equiv"] for _, attributes in found if "http-equiv" in attributes] == [
        "Content-Security-Policy"
    ]
    (style,) = read(page).styles
    assert not re.search(r"url|@import|expression|[\\<>&]|src", style)


def test_the_policy_allows_the_one_style_sheet(page: str) -> None:
    """It stands before anything that could load, forbids all by default, and names the hash of what is in the page."""
    found = read(page)
    assert [name for name, _ in found.found[:4]] == ["html", "head", "meta", "meta"]
    assert found.found[2][1] == {"charset": "utf-8"}
    policy = found.found[3][1]["content"]
    assert policy == POLICY
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    digest = base64.b64encode(hashlib.sha256(found.styles[0].encode()).digest()).decode()
    assert rules == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_every_hostile_text_is_shown_as_text(page: str, hostile: Sequence[str]) -> None:
    """What can be seen stands there letter by letter, the rest is spelled out; in narrative, class, label and notes."""
    texts = read(page).texts
    for text in hostile:
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        assert texts.count(shown) > 3, text
    assert all(text.isprintable() or not text.strip() for text in texts)
    assert "\\u202egnp.exe \\u2066\\u200b\\x1b[2J\\x00\\x7f" in "".join(texts)


def test_the_page_is_plain_ascii_and_well_formed_xml(page: str) -> None:
    """No browser has to guess its encoding, and two kinds of parser see the same elements and texts."""
    tree = ET.fromstring(page)  # noqa: S314 - a page of our own, and expat loads nothing
    html = read(page)
    assert [element.tag for element in tree.iter()] == [name for name, _ in html.found]
    assert "".join(tree.itertext()) == "".join(piece for piece in _in_order(html))


def _in_order(html: Strict) -> list[str]:
    """The texts of the page with its style sheet, which stands behind the title."""
    texts = [text for text in html.texts if text != "\n"]
    return [texts[0], *html.styles, *texts[1:]]


@pytest.mark.parametrize("quote", ["'", '"', "<", ">", "&"])
def test_nothing_ends_an_attribute_or_a_text(quote: str) -> None:
    """The five characters that mean something never stand in a page as themselves."""
    assert quote not in escaped(quote).replace("&", "", 1).replace(";", "") or quote == "&"
    assert read(f"<p>{escaped(quote * 3)}</p>").texts == [quote * 3]
    assert read(tag("p", class_=quote * 3).text).found == [("p", {"class": quote * 3})]


def test_lone_halves_of_characters_are_spelled_out() -> None:
    """What a command line or JSON can hold and UTF-8 cannot."""
    assert escaped("\udcff \ud800") == "\\udcff \\ud800"
