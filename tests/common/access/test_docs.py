"""docs/access.md says what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.access.names import GROUPS, INGESTER
from services.common.access.refusals import Refused
from services.common.access.table import parse_access

DOCUMENT = (Path(__file__).parents[3] / "docs" / "access.md").read_text("utf-8")


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_is_there(group: str) -> None:
    """With the operations of the ingester that are in it."""
    (row,) = (line for line in DOCUMENT.splitlines() if line.startswith(f"| `{group}` |"))
    if group not in {"questions", "all"}:
        assert all(f"`{name.removeprefix(INGESTER)}`" in row.replace(INGESTER, "") for name in GROUPS[group])


@pytest.mark.parametrize("reason", Refused)
def test_every_reason_is_there(reason: Refused) -> None:
    """What the log and the status say."""
    told = DOCUMENT.partition("## What is refused")[2].partition("## How")[0]
    assert f"`{reason.value}`" in told


def test_the_example_is_an_access_file() -> None:
    """Who copies it has a file that services take."""
    example = DOCUMENT.partition("```toml\nformat = 1")[2].partition("```")[0]
    found = parse_access(f"format = 1{example}".encode(), "docs/access.md").of_name("alice")
    assert found is not None
    assert found.rights.rate.per_s == 20
