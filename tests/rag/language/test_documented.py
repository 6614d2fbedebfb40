"""The phrases that docs/search.md shows are understood."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.rag.language.understand import understand
from services.rag.language.understanding import Facts

PAGE = Path(__file__).parents[3] / "docs" / "search.md"
NOW = 1_795_188_600 * 10**9
FACTS = Facts(("MALICIOUS",), ("Botnet", "DoS Hulk"), ("core",), ("vip",), firewalls=True)


def documented() -> list[str]:
    """Every phrase of the first column of the table under "What is understood"."""
    section = PAGE.read_text("utf-8").partition("## What is understood")[2].partition("## ")[0]
    rows = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)[1:]
    phrases = [phrase for row in rows for phrase in re.split(r"[,;] (?!8)", row)]
    return [phrase for phrase in phrases if "-" * 3 not in phrase]


@pytest.mark.parametrize("phrase", documented())
def test_a_documented_phrase_is_understood(phrase: str) -> None:
    """What stands in the table becomes filters, and nothing of it is left or doubted."""
    understood = understand(phrase.replace("between A and B", "between 10.0.0.5 and ::1"), NOW, FACTS)
    assert understood.filters
    assert not understood.notes


def test_the_table_is_read() -> None:
    """A page that looks different would make the test above vacuous."""
    assert len(documented()) > 70
