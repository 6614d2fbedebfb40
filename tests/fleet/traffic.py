"""What the sensors of a fleet see: the recorded office, its flows one after the other, as if each were ending now.

Two sensors write two formats, so that two sites differ: CICFlowMeter's CSV and Zeek's conn.log in JSON. No two lines
are alike, so every line is an event of its own, and whoever reads the file again knows its identifier.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.feed.readers import reader_of
from services.feed.readers.port import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

OFFICE_DAY = Path(__file__).parents[2] / "samples/office-day.csv.gz"
_PROTOCOLS = {"6": "tcp", "17": "udp", "1": "icmp"}


def office_rows() -> list[dict[str, str]]:
    """The recorded flows by column, in the order of time."""
    with gzip.open(OFFICE_DAY, "rt", newline="") as file:
        return list(csv.DictReader(file))


class Traffic(Protocol):
    """Lines of one format."""

    format: str
    """Its name at `appia feed --format`."""

    def first_line(self) -> str:
        """What the file begins with; may be empty."""
        ...

    def line(self, now: float) -> str:
        """The next flow, begun at `now` (seconds since 1970, UTC)."""
        ...


class FlowMeterTraffic:
    """CICFlowMeter's CSV, as its Python form writes it."""

    format = "cicflowmeter"

    def __init__(self, rows: list[dict[str, str]]) -> None:
        """Begin with the first of `rows`; after the last one it begins again."""
        self._columns = list(rows[0])
        self._rows = itertools.cycle(rows)

    def first_line(self) -> str:
        return ",".join(self._columns) + "\n"

    def line(self, now: float) -> str:
        row = {
            **next(self._rows),
            "timestamp": datetime.fromtimestamp(now, UTC).replace(tzinfo=None).isoformat(" "),
        }
        return ",".join(row[column] for column in self._columns) + "\n"


class ZeekTraffic:
    """Zeek's conn.log with one JSON object a line."""

    format = "zeek-conn"

    def __init__(self, rows: list[dict[str, str]]) -> None:
        """As FlowMeterTraffic."""
        self._rows = itertools.cycle(rows)
        self._numbers = itertools.count(1)

    def first_line(self) -> str:
        return ""

    def line(self, now: float) -> str:
        row, number = next(self._rows), next(self._numbers)
        return (
            json.dumps(
                {
                    "ts": round(now, 6),
                    "uid": f"C{number:017d}",
                    "id.orig_h": row["src_ip"],
                    "id.orig_p": int(row["src_port"]),
                    "id.resp_h": row["dst_ip"],
                    "id.resp_p": int(row["dst_port"]),
                    "proto": _PROTOCOLS[row["protocol"]],
                    "duration": float(row["flow_duration"]) / 1e6,
                    "orig_bytes": int(row["totlen_fwd_pkts"]),
                    "resp_bytes": int(row["totlen_bwd_pkts"]),
                    "orig_pkts": int(row["tot_fwd_pkts"]),
                    "resp_pkts": int(row["tot_bwd_pkts"]),
                    "conn_state": "SF",
                    "label": row["label"],
                }
            )
            + "\n"
        )


def event_ids(path: Path, form: str) -> Iterator[str]:
    """The identifier of every event of a file, as `appia feed` gives them; blocks on the disk.

    Raises AssertionError for a line that is no event: the sensors of a fleet write none.
    """
    for item in reader_of(form).read(str(path), ReadOptions()):
        assert isinstance(item, NetworkSecurityEvent), item
        yield item.event_id
