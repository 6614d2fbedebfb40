"""Label metered flows by what the recording itself did, cap the classes, and write the sample."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# A flood or a scan repeats one vector thousands of times; beyond this many they teach and show nothing.
CAPS = {"PortScan": 900, "DoS-SynFlood": 500, "DoS-UdpFlood": 500}
OUTSIDE_ATTACKERS = "203.0.113."
SLACK_SECONDS = 1.0

Row = dict[str, str]


@dataclass(frozen=True)
class Truth:
    """One attack as it really ran: who against whom, from when to when (seconds since the epoch, UTC)."""

    label: str
    tool: str
    source: str
    targets: tuple[str, ...]
    start: float
    end: float

    def covers(self, ends: set[str], moment: float) -> bool:
        """Whether a flow between these two addresses that began then belongs to it, in either direction."""
        in_time = self.start - SLACK_SECONDS <= moment <= self.end + SLACK_SECONDS
        return in_time and self.source in ends and any(target in ends for target in self.targets)


def write_truth(path: Path, truths: Iterable[Truth]) -> None:
    """One JSON object a line, in the order of the start times."""
    ordered = sorted(truths, key=lambda truth: truth.start)
    path.write_text("".join(json.dumps(asdict(truth)) + "\n" for truth in ordered))


def read_truth(path: Path) -> list[Truth]:
    """The inverse of `write_truth`."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return [Truth(**{**entry, "targets": tuple(entry["targets"])}) for entry in entries]


def moment_of(row: Row) -> float:
    """When a flow began, seconds since the epoch."""
    return datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC).timestamp()


def label_of(row: Row, truths: Sequence[Truth]) -> str:
    """The one label of a flow; raises ValueError when truths disagree or say nothing about an attacker."""
    ends = {row["src_ip"], row["dst_ip"]}
    labels = {truth.label for truth in truths if truth.covers(ends, moment_of(row))}
    if len(labels) > 1:
        raise ValueError(f"flow between {ends} at {row['timestamp']} belongs to {sorted(labels)}")
    if not labels and any(end.startswith(OUTSIDE_ATTACKERS) for end in ends):
        raise ValueError(f"flow between {ends} at {row['timestamp']} belongs to no attack that ran")
    return labels.pop() if labels else "BENIGN"


def capped(rows: Sequence[Row]) -> list[Row]:
    """At most CAPS rows of a class, spread evenly over its rows in time; input and output sorted by time."""
    places = defaultdict(list)
    for place, row in enumerate(rows):
        places[row["label"]].append(place)
    kept: list[int] = []
    for label, found in places.items():
        count = min(len(found), CAPS.get(label, len(found)))
        kept += [found[step * len(found) // count] for step in range(count)]
    return [rows[place] for place in sorted(kept)]


def make_sample(flows: Path, truths: Sequence[Truth], sample: Path) -> dict[str, int]:
    """Write the labelled, capped, sorted sample (gzip without time or name); returns its counts by label."""
    with flows.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = label_of(row, truths)
    rows.sort(
        key=lambda row: (row["timestamp"], row["src_ip"], row["src_port"], row["dst_ip"], row["dst_port"])
    )
    kept = capped(rows)
    lines = [",".join(kept[0]), *(",".join(row.values()) for row in kept)]
    sample.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), 9, mtime=0))
    counts: dict[str, int] = defaultdict(int)
    for row in kept:
        counts[row["label"]] += 1
    return dict(sorted(counts.items()))


def write_manifest(folder: Path, names: Iterable[str]) -> None:
    """MANIFEST: sha256 and name of each file, as `sha256sum --check` reads it."""
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "MANIFEST").write_text("".join(lines))
