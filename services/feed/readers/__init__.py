"""One reader per format of traffic records; docs/feeds.md has the tables."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from services.common.errors import UsageError
from services.feed.readers.cicflowmeter import CicFlowMeterReader
from services.feed.readers.detections_pb import DetectionsPbReader
from services.feed.readers.firewall_csv import FirewallCsvReader
from services.feed.readers.mldefender_jsonl import MlDefenderJsonlReader
from services.feed.readers.mldefender_pb import MlDefenderPbReader
from services.feed.readers.suricata_eve import SuricataEveReader
from services.feed.readers.zeek_conn import ZeekConnReader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.feed.readers.port import Reader

READERS: Mapping[str, Reader] = MappingProxyType(
    {
        reader.name: reader
        for reader in (
            CicFlowMeterReader(),
            ZeekConnReader(),
            SuricataEveReader(),
            MlDefenderJsonlReader(),
            MlDefenderPbReader(),
            FirewallCsvReader(),
            DetectionsPbReader(),
        )
    }
)


DECISIONS = frozenset({FirewallCsvReader.name, DetectionsPbReader.name})
"""The formats of decisions; all others are of events."""


def reader_of(name: str) -> Reader:
    """Return the reader of a format, underscores being as good as dashes.

    Raises:
        UsageError: there is no such format.
    """
    reader = READERS.get(name.replace("_", "-"))
    if reader is None:
        raise UsageError(f"There is no format {name!r}; choose one of: {', '.join(READERS)}.")
    return reader
