"""What docs/guarantees.md names is there: tests, files, suites and their rounds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torture import disk_full, etcd
from torture.fuzz_targets import TARGETS
from torture.fuzzing import blind, guided
from torture.suites import every_suite

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
PROMISES = re.findall(r"^## (\d+)\. (.+?)\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
NODES = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))
FILES = sorted(set(re.findall(r"`((?:services|make|tests)/[\w/]+\.py)`", PAGE)))
NAMED = sorted(
    {
        name
        for part in re.findall(r"suites?\s((?:`[\w-]+`(?:,\s|\sand\s)?)+)", PAGE)
        for name in re.findall(r"`([\w-]+)`", part)
    }
)
ROWS = re.findall(r"^\| `([\w-]+)` \| .+ \| .+ \| ([\d,]+) \| ([\d,]+) \|$", PAGE, re.MULTILINE)
SUITES = {
    suite.name: suite
    for suite in (
        *every_suite().values(),
        disk_full.SUITE,
        etcd.SUITE,
        *map(blind, TARGETS),
        *map(guided, TARGETS),
    )
}


def test_there_are_twelve_promises_each_with_how_tests_and_limits() -> None:
    assert [int(number) for number, _, _ in PROMISES] == list(range(1, 13))
    for number, _, text in PROMISES:
        for part in ("**How.**", "**Shown by**", "**Not covered.**"):
            assert part in text, f"promise {number} has no {part}"
        shown = text.split("**Shown by**")[1]
        assert "::test_" in shown, f"promise {number} names no test"


@pytest.mark.parametrize(("file", "name"), NODES)
def test_a_named_test_is_there(file: str, name: str) -> None:
    path = ROOT / file
    assert path.is_file()
    if name:
        assert re.search(rf"^(?:async )?def {name}\(", path.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("file", FILES)
def test_a_named_file_is_there(file: str) -> None:
    assert (ROOT / file).is_file()


@pytest.mark.parametrize("name", NAMED)
def test_a_named_suite_is_there(name: str) -> None:
    assert name in SUITES


def test_every_suite_is_in_the_table_with_its_rounds() -> None:
    found = {name: (int(few.replace(",", "")), int(full.replace(",", ""))) for name, few, full in ROWS}
    assert found == {name: (suite.ci_rounds, suite.full_rounds) for name, suite in SUITES.items()}
