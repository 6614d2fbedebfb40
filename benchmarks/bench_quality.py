"""How often the five nearest events are of the same class: same-class precision@5, overall and by class.

Base: the first 60 % of each class by time. Queries: the rest. The events go through a real stack with their labels in
`custom_metadata` only (`appia feed --labels metadata`), so no index sees them, and are sealed. Which rows are base is
no filter that a client can ask for; so the questions are put to the replica's own searcher in this process, on the
sealed days, with that choice of rows in place of a filter.
"""

from __future__ import annotations

import random as random_module
import shutil
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.common import BenchError, Report, options, traffic_file
from benchmarks.exact import opened
from benchmarks.stack import (
    Feeding,
    appia,
    client_of,
    endpoints,
    open_days,
    running_stack,
    wait_visible,
)
from services.common.days.fusion import FusionWeights
from services.common.days.names import EVENT_INDICES, StateNames
from services.rag.filters import Filters
from services.rag.models import StoredModels
from services.rag.queries import Queries
from services.rag.scope import Bounds
from services.rag.searcher import Searcher

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from services.rag.catalog import Snapshot
    from services.rag.segments import Segment

K = 5
BASE_SHARE = 0.6
FUSED = "fused"


@dataclass(frozen=True)
class BaseRows(Filters):
    """Lets the rows of the base pass, by day."""

    base: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def select(self, segment: Segment) -> NDArray[np.int64]:
        """See Filters."""
        return self.base[segment.view.day]


@dataclass(frozen=True)
class Query:
    """An event to ask about."""

    event_id: str
    label: str


@dataclass(frozen=True)
class Split:
    """The rows of the base by day, the queries by class, and how many events of each class there are to ask about."""

    base: dict[str, NDArray[np.int64]]
    queries: dict[str, list[Query]]
    counts: dict[str, int]


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = options("quality", __doc__ or "", 0)
    parser.set_defaults(events=None)
    parser.add_argument(
        "--sample", type=int, default=2000, help="queries at most, spread over classes; 0: all"
    )
    given = parser.parse_args(argv)
    source = traffic_file(given.input)
    state = given.work / f"quality-{given.events or 'all'}"
    report = Report(
        "quality", {"input": source.name, "events": given.events or "all", "sample": given.sample}
    )
    shutil.rmtree(state, ignore_errors=True)
    _make(state, source, given.events)
    with opened(state) as snapshot:
        split = _split(snapshot, given.sample)
        _measure(report, snapshot, split, state)
    report.write(given.out)


def _make(state: Path, source: Path, events: int | None) -> None:
    limit = () if events is None else ("--limit", str(events))
    with running_stack(state) as running, client_of(endpoints(running)) as client:
        fed = Feeding(state, source, "--labels", "metadata", *limit).result()
        wait_visible(client, fed.stored)
        for day in open_days(client):
            appia("seal", day, "--state", str(state))


def _split(snapshot: Snapshot, sample: int) -> Split:
    """Base and queries; where not all are asked, each class gives as many, or all it has."""
    views = [segment.view for segment in snapshot.segments]
    labels = np.concatenate([np.array(v.texts, object)[v.columns["label"]] for v in views])
    times = np.concatenate([v.columns["time_ns"] for v in views])
    days = np.repeat(np.arange(len(views)), [v.rows for v in views])
    rows = np.concatenate([np.arange(v.rows) for v in views])
    is_base = np.zeros(len(rows), bool)
    asked: dict[str, NDArray[np.intp]] = {}
    for label in sorted(set(labels)):
        places = np.flatnonzero(labels == label)
        places = places[np.argsort(times[places], kind="stable")]
        cut = int(BASE_SHARE * len(places))
        is_base[places[:cut]] = True
        asked[label] = places[cut:]
    each = _each([len(places) for places in asked.values()], sample)
    random = random_module.Random(9)
    queries: dict[str, list[Query]] = {}
    for label, places in asked.items():
        chosen = random.sample(places.tolist(), min(each, len(places)))
        found = [views[days[p]].events.fetch([int(rows[p])])[0]["event_id"] for p in chosen]
        queries[label] = [Query(event_id, label) for event_id in found]
    base = {view.day: rows[is_base & (days == number)] for number, view in enumerate(views)}
    return Split(base, queries, {label: len(places) for label, places in asked.items()})


def _each(counts: list[int], sample: int) -> int:
    """How many queries a class may have so that there are at most `sample` in all."""
    if not sample:
        return max(counts)
    each = 1
    while each < max(counts) and sum(min(each + 1, count) for count in counts) <= sample:
        each += 1
    return each


def _measure(report: Report, snapshot: Snapshot, split: Split, state: Path) -> None:
    searcher = Searcher(Queries(StoredModels(StateNames(state).models)), FusionWeights())
    bounds = Bounds(K, BaseRows(base=split.base))
    base = sum(map(len, split.base.values()))
    asked = sum(map(len, split.queries.values()))
    report.add(
        "split",
        {"base": base, "queries": sum(split.counts.values()), "asked": asked, "classes": split.counts},
        f"{base:,} events of {len(split.counts)} classes as base; {asked:,} of {sum(split.counts.values()):,} "
        "others asked about, in each index",
    )
    for index in (*EVENT_INDICES, FUSED):
        found = {
            label: float(np.mean([_precision(searcher, snapshot, (q, index), bounds) for q in queries]))
            for label, queries in split.queries.items()
            if queries
        }
        _tell(report, index, found, split.counts)


def _precision(searcher: Searcher, snapshot: Snapshot, what: tuple[Query, str], bounds: Bounds) -> float:
    query, index = what
    hits = searcher.similar(snapshot, query.event_id, index, bounds)["hits"]
    return sum(bool(hit["label"] == query.label) for hit in hits) / K


def _tell(report: Report, index: str, found: dict[str, float], counts: dict[str, int]) -> None:
    """Overall: each class counts by the number of its events, so that a sample by class stands for all."""
    weights = [counts[label] for label in found]
    overall = float(np.average(list(found.values()), weights=weights))
    macro = float(np.mean(list(found.values())))
    weakest = ", ".join(f"{label} {p:.2f}" for label, p in sorted(found.items(), key=lambda x: x[1])[:4])
    report.add(
        index,
        {
            "overall": round(overall, 4),
            "macro": round(macro, 4),
            "classes": {label: round(precision, 4) for label, precision in found.items()},
        },
        f"{index}: same-class precision@{K} overall {overall:.4f}, macro {macro:.4f}; weakest: {weakest}",
    )


if __name__ == "__main__":
    try:
        main()
    except BenchError as failed:
        sys.exit(f"bench_quality: {failed}")
