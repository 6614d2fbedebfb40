"""The documentation of the configuration has every key."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.config.tree import SECTIONS, SENSORS
from services.common.settings import describe_settings, settings_table

DOCS = Path(__file__).parents[3] / "docs"


def test_the_keys_of_sensors_are_on_the_page() -> None:
    """docs/configuration.md holds the table that the code gives, word for word."""
    table = settings_table(SECTIONS[SENSORS])
    assert table in (DOCS / "configuration.md").read_text(), f"put this table into configuration.md:\n{table}"


@pytest.mark.parametrize("section", [section for section in SECTIONS if section != SENSORS])
def test_the_keys_of_services_are_among_their_settings(section: str) -> None:
    """What can be changed is a setting as well, and the table of settings says when a change is taken up."""
    lines = (DOCS / "settings.md").read_text().splitlines()
    for row in describe_settings(SECTIONS[section]):
        told = f"| `{row.name}` | {row.type} | {row.default} | {row.changes} | {row.description} |"
        assert told in lines, f"put this line into settings.md:\n{told}"
