"""What `novel` finds on labelled days whose first is benign, and how long it takes over thirty days.

Labels are fed into `custom_metadata` only (`appia feed --labels metadata`), so that no index sees them. Each day is
asked about by itself, as on its evening: compared with the days before it, measured by these.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import BenchError, Report, options, traffic_file
from benchmarks.exact import opened
from benchmarks.processes import shares
from benchmarks.replicas import replica
from benchmarks.stack import (
    Feeding,
    Wanted,
    appia,
    client_of,
    endpoints,
    open_days,
    running_stack,
    wait_visible,
)
from services.common.days.names import EVENT_INDICES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from services.rag.client import Client

FUSED = "fused"
INDICES = (*EVENT_INDICES, FUSED)
BENIGN = "benign"
PERCENTILES = (99.0, 99.9)
AGAIN = 20


@dataclass(frozen=True)
class Labelled:
    """The events of one label on one day."""

    day: str
    label: str
    events: int


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = options("novel", __doc__ or "", 1_000_000)
    parser.add_argument(
        "--vary", type=float, default=0.05, help="see bench_ingest; of the days that are timed"
    )
    parser.add_argument("--weeks", type=int, default=6, help="weeks that the timed events are spread over")
    given = parser.parse_args(argv)
    source = traffic_file(given.input)
    wanted = Wanted(source, given.events, given.vary, given.work, weeks=given.weeks, keep_open=True)
    report = Report("novel", wanted.facts())
    _quality(report, _labelled_state(source, given.work))
    wanted.make()
    _speed(report, wanted.state)
    report.write(given.out)


def _labelled_state(source: Path, work: Path) -> Path:
    """The days of the file as they are, sealed; blocks."""
    wanted = replace(Wanted(source, 0, 0, work / "labelled"), weeks=1)
    if not wanted.is_made():
        wanted.clear()
        print("  feeding and sealing the labelled days (kept for later runs)", flush=True)
        with running_stack(wanted.state) as running, client_of(endpoints(running)) as client:
            fed = Feeding(wanted.state, source, "--labels", "metadata").result()
            wait_visible(client, fed.stored)
            for day in open_days(client):
                appia("seal", day, "--state", str(wanted.state))
        wanted.mark_made()
    return wanted.state


def _quality(report: Report, state: Path) -> None:
    """The share of each label's events that is novel, in each index."""
    labelled = _labels(state)
    with replica(state, 1) as one, client_of([one.endpoint]) as client:
        for percentile in PERCENTILES:
            found = {
                index: [_share(client, index, percentile, group) for group in labelled] for index in INDICES
            }
            _tell_quality(report, percentile, labelled, found)


def _labels(state: Path) -> list[Labelled]:
    """Every label of every day with its events."""
    found = []
    with opened(state) as snapshot:
        for segment in snapshot.segments:
            counts = segment.tally.counts["label"]
            names = {segment.view.texts[code]: int(counts[code]) for code in np.flatnonzero(counts).tolist()}
            found += [Labelled(segment.view.day, name, names[name]) for name in sorted(names) if name]
    return found


def _share(client: Client, index: str, percentile: float, group: Labelled) -> float:
    filters = {"days": [group.day], "label": group.label}
    arguments = {"days": 1, "index": index, "percentile": percentile, "k": 1, "filters": filters}
    answer = client.ask("novel", arguments)
    return int(answer["novel"]) / group.events


def _tell_quality(
    report: Report, percentile: float, labelled: Sequence[Labelled], found: dict[str, list[float]]
) -> None:
    lines = [
        f"| day | label | events | {' | '.join(INDICES)} |",
        "| --- | --- | --- |" + " --- |" * len(INDICES),
    ]
    for number, group in enumerate(labelled):
        cells = " | ".join(f"{found[index][number]:.4f}" for index in INDICES)
        lines.append(f"| {group.day} | {group.label} | {group.events:,} | {cells} |")
    report.add_table(f"Share of the events that is novel, percentile {percentile:g}", lines)
    figures = {
        index: [
            {"day": group.day, "label": group.label, "events": group.events, "novel": round(share, 5)}
            for group, share in zip(labelled, shares_of, strict=True)
        ]
        for index, shares_of in found.items()
    }
    benign = {index: _benign(labelled, found[index]) for index in INDICES}
    told = ", ".join(f"{index} {share:.2%}" for index, share in benign.items())
    report.add(
        f"novel_{percentile:g}", figures, f"percentile {percentile:g}: of all benign events are novel: {told}"
    )


def _benign(labelled: Sequence[Labelled], shares_of: Sequence[float]) -> float:
    """The share of all benign events that is novel."""
    pairs = [
        (group.events, share)
        for group, share in zip(labelled, shares_of, strict=True)
        if group.label.lower().startswith(BENIGN)
    ]
    return sum(events * share for events, share in pairs) / max(sum(events for events, _ in pairs), 1)


def _speed(report: Report, state: Path) -> None:
    """The first question of a fresh replica, the same again, and one about all days."""
    for index in INDICES:
        with replica(state, 1) as one, client_of([one.endpoint]) as client:
            before = shares(one.pid)
            first = _timed(client, {"index": index, "days": 1})
            again = min(_timed(client, {"index": index, "days": 1}) for _ in range(AGAIN))
            week = _timed(client, {"index": index, "days": 7})
            everything = _timed(client, {"index": index, "days": 60})
            everything_again = _timed(client, {"index": index, "days": 60})
            grown = round(shares(one.pid)["anonymous"] - before["anonymous"], 1)
        figure = {
            "first_s": first,
            "again_s": again,
            "week_s": week,
            "all_s": everything,
            "all_again_s": everything_again,
            "grown_mib": grown,
        }
        report.add(
            f"speed_{index}",
            figure,
            f"{index}: the last day {first:.2f} s in a fresh replica, {again * 1000:.0f} ms again; then the last week "
            f"{week:.2f} s, all days {everything:.2f} s, again {everything_again:.2f} s; anonymous memory "
            f"grew by {grown} MiB",
        )


def _timed(client: Client, arguments: dict[str, Any]) -> float:
    started = time.perf_counter()
    answer = client.ask("novel", arguments)
    if answer["receipt"]["partial"]:
        raise BenchError(f"an answer is not whole: {answer['receipt']['missing']}")
    return round(time.perf_counter() - started, 4)


if __name__ == "__main__":
    try:
        main()
    except BenchError as failed:
        sys.exit(f"bench_novel: {failed}")
