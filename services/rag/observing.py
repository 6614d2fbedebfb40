"""What a replica shows of itself: whether it can take a request, and what it serves as metrics."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from services.common.days.names import INDICES
from services.common.observing.metrics import Kind, Metric, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.common.observing.metrics import Sample
    from services.common.rpc_server import RpcServer
    from services.rag.catalog import Catalog, Snapshot
    from services.rag.readiness import ReplicaReadiness

ROWS = Metric(
    "appia_served_rows", Kind.GAUGE, "Events that can be searched here, by state of their day.", ("state",)
)
SEGMENTS = Metric(
    "appia_served_segments", Kind.GAUGE, "Sealed days, and open segments of days, that can be searched here."
)
FAULTS = Metric(
    "appia_served_faults",
    Kind.GAUGE,
    "Days, or parts of them, that cannot be read here; the log has the reasons.",
)
MISSING = Metric("appia_served_index_missing", Kind.GAUGE, "Sealed days here that lack an index.", ("index",))
DAMAGED = Metric(
    "appia_served_index_damaged", Kind.GAUGE, "Sealed days here with a damaged index.", ("index",)
)
GENERATIONS_BEHIND = Metric(
    "appia_replica_behind_generations",
    Kind.GAUGE,
    "Sealed generations that are published and not served here yet.",
)
ROWS_BEHIND = Metric(
    "appia_replica_behind_rows", Kind.GAUGE, "Rows of open days that are published and not served here yet."
)
BEHIND_S = Metric(
    "appia_replica_behind_seconds",
    Kind.GAUGE,
    "For how long the oldest of them has been waited for here; /readyz compares it with `ready_within_s`.",
)
REPLICA_METRICS = (ROWS, SEGMENTS, FAULTS, MISSING, DAMAGED, GENERATIONS_BEHIND, ROWS_BEHIND, BEHIND_S)


def source_of(catalog: Catalog, readiness: ReplicaReadiness) -> Source:
    """The metrics of a replica."""

    def read() -> Iterator[Sample]:
        with catalog.lease() as snapshot:
            found = list(_of_snapshot(snapshot))
        yield from found
        lag = readiness.lag()
        yield GENERATIONS_BEHIND.of(lag.generations)
        yield ROWS_BEHIND.of(lag.rows)
        yield BEHIND_S.of(lag.seconds)

    return Source(REPLICA_METRICS, read)


def _of_snapshot(snapshot: Snapshot) -> Iterator[Sample]:
    views = [segment.view for segment in snapshot.segments]
    for state, sealed in (("sealed", True), ("open", False)):
        yield ROWS.of(sum(view.rows for view in views if view.sealed is sealed), state)
    yield SEGMENTS.of(len(views))
    yield FAULTS.of(len(snapshot.faults))
    missing = Counter(name for view in views if view.sealed for name in view.missing)
    damaged = Counter(name for view in views if view.sealed for name in view.damaged)
    for name in INDICES:
        yield MISSING.of(missing[name], name)
        yield DAMAGED.of(damaged[name], name)


def why_stuck(server: RpcServer, catalog: Catalog) -> str:
    """Why it cannot take a request, or would answer from days of long ago for ever; empty while it can."""
    if not catalog.is_followed:
        return "The thread that follows the days has ended; the log has the reason."
    return server.stuck()
