"""Writes the column tables of docs/feeds.md from the tables that the readers use.

    python -m services.feed.readers.document docs/feeds.md

The tables stand between `<!-- columns NAME -->` and `<!-- end -->`; a test fails when they lag behind.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from services.feed.readers import cicflowmeter, suricata_eve, zeek_conn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.feed.readers.table import Column

TABLES = {
    reader.name: reader.columns
    for reader in (
        cicflowmeter.CicFlowMeterReader,
        zeek_conn.ZeekConnReader,
        suricata_eve.SuricataEveReader,
    )
}
PLACE = re.compile(r"(?P<start><!-- columns (?P<name>\S+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def table(columns: Sequence[Column]) -> str:
    """Return a Markdown table: column, field, unit, conversion."""
    lines = ["| column | field | unit | conversion |", "| --- | --- | --- | --- |"]
    for column in columns:
        names = ", ".join(f"`{name}`" for name in column.names)
        fields = ", ".join(f"`{field}`" for field in column.fields)
        seconds = "; seconds are multiplied by 1,000,000" if column.scaled else ""
        lines.append(f"| {names} | {fields} | {column.unit} | {column.kind.value}{seconds} |")
    return "\n".join(lines) + "\n"


def filled(text: str) -> str:
    """Return a document with its tables brought up to date."""
    return PLACE.sub(lambda match: match["start"] + table(TABLES[match["name"]]) + match["end"], text)


def main(path: Path) -> None:
    """Bring one document up to date."""
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
