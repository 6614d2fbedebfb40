"""docs/feeds.md says what the readers do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.common.events.network_security_pb2 import NetworkFeatures, NetworkSecurityEvent
from services.feed.readers import READERS
from services.feed.readers.document import TABLES, filled, main

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "feeds.md"


def test_the_tables_are_those_the_readers_use() -> None:
    text = DOCUMENT.read_text()
    assert text.count("<!-- columns ") == len(TABLES)
    assert filled(text) == text, "run: python -m services.feed.readers.document docs/feeds.md"


def test_the_document_can_be_brought_up_to_date(tmp_path: Path) -> None:
    copy = tmp_path / "feeds.md"
    copy.write_text(
        re.sub(r"(<!-- columns \S+ -->\n).*?(<!-- end -->)", r"\1\2", DOCUMENT.read_text(), flags=re.DOTALL)
    )
    main(copy)
    assert copy.read_text() == DOCUMENT.read_text()


@pytest.mark.parametrize("name", READERS)
def test_every_format_is_described(name: str) -> None:
    assert f"| `{name}` |" in DOCUMENT.read_text()


def test_every_reason_to_refuse_is_described() -> None:
    sources = [*(ROOT / "services" / "feed").rglob("*.py")]
    raised = re.compile(
        r'(?:RowRefusedError|SourceBrokenError|Broken|Refusal)\(\s*(?:number, )?"([a-z0-9_]+)"'
    )
    reasons = {reason for path in sources for reason in raised.findall(path.read_text())}
    assert len(reasons) > 10
    missing = {reason for reason in reasons if f"`{reason}`" not in DOCUMENT.read_text()}
    assert not missing


@pytest.mark.parametrize("name", TABLES)
def test_every_field_in_a_table_is_one_of_the_contract(name: str) -> None:
    known = {*NetworkFeatures.DESCRIPTOR.fields_by_name, *NetworkSecurityEvent.DESCRIPTOR.fields_by_name}
    assert {field for column in TABLES[name] for field in column.fields} <= known


@pytest.mark.parametrize("name", TABLES)
def test_no_name_of_a_column_stands_twice(name: str) -> None:
    names = [known for column in TABLES[name] for known in column.names]
    assert len(names) == len(set(names))
