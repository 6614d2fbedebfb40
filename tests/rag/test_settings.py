"""The documentation lists the settings that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.settings import ServiceSettings, settings_table
from services.ingester.settings import IngesterSettings
from services.rag.settings import RagSettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.mark.parametrize("cls", [RagSettings, IngesterSettings])
def test_the_document_has_every_setting(cls: type[ServiceSettings]) -> None:
    """docs/settings.md holds the table that the code gives, word for word."""
    table = settings_table(cls)
    assert table in DOCUMENT.read_text(), f"put this table into {DOCUMENT.name}:\n{table}"


@pytest.mark.parametrize("cls", [RagSettings, IngesterSettings])
def test_every_setting_has_a_description(cls: type[ServiceSettings]) -> None:
    """Errors and documentation are made of the descriptions, so that none may be without."""
    assert all(field.description for field in cls.model_fields.values())
