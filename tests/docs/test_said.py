"""What a command printed is the same as what the guide shows where it has to be, and only there."""

from __future__ import annotations

import pytest
from docs.said import differs


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["a b"], "a   b\n"),
        (["a", "b"], "\na\n\nb\n\n"),
        (["found 3 in 1.2 ms"], "found 3 in 814.0 ms"),
        (["in 0.9 s, 8,867 events/s"], "in 12 s, 9 events/s"),
        (["id ... is whole"], "id 07a9 is whole"),
        (["a ... b"], "a b"),
        (["a ... b"], "a 1 2 b"),
        (["a...b"], "ab"),
        (["first", "...", "last"], "first\n2\n3\nlast"),
        (["first", "..."], "first"),
        (["...", "last"], "1\n2\nlast"),
        (["a.b*c"], "a.b*c"),
        (["green"], "\x1b[32mgreen\x1b[0m"),
    ],
)
def test_the_same(shown: list[str], printed: str) -> None:
    assert not differs(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed", "said"),
    [
        (["a"], "b", "shows\n    a\n"),
        (["a", "b"], "a", "shows\n    b\n"),
        (["a"], "a\nb", "nothing more than the 1 lines before: b"),
        (["found 3 in 1.2 ms"], "found 4 in 1.2 ms", "found 3"),
        (["a.c"], "abc", "a.c"),
        (["first", "...", "last"], "first\nlast\nand more", "nothing more"),
        (["first", "...", "last"], "first\n2", "last"),
        (["id ... is whole"], "id 07a9 is torn", "is whole"),
        (["3 days"], "3 hours", "3 days"),
        (["a ... b"], "ab", "a ... b"),
    ],
)
def test_another(shown: list[str], printed: str, said: str) -> None:
    assert said in differs(shown, printed)
