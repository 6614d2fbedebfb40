"""What the ingester shows of itself: whether it takes events, and its counters as metrics."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from services.common.observing.condition import Condition, Process, Readiness
from services.common.observing.metrics import MOST_LABELS, Kind, Metric, Source, label, largest
from services.common.wire.refusals import Reason
from services.ingester.jobs import DONE, FAILED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from services.common.observing.beats import Beats
    from services.common.observing.metrics import Sample
    from services.ingester.jobs import Jobs
    from services.ingester.receiver import Receiver
    from services.ingester.room import Gauge
    from services.ingester.settings import IngesterSettings

_NONE_REFUSED = {reason.value: 0 for reason in Reason}
"""A counter that is there before it counts is one whose first step can be seen."""
INTAKE, INDEXER = "the intake", "the indexer"
"""The loops that have to move (`Beats`)."""

ACCEPTED = Metric("appia_events_accepted_total", Kind.COUNTER, "Events that were new and are on disk.")
DUPLICATES = Metric("appia_events_duplicate_total", Kind.COUNTER, "Events that their day had already.")
REFUSED = Metric("appia_refused_total", Kind.COUNTER, "Frames and events that were refused.", ("reason",))
FRAMES = Metric(
    "appia_frames_total",
    Kind.COUNTER,
    "Frames that came, by version of the wire, refused ones among them.",
    ("wire",),
)
NOT_KEPT = Metric(
    "appia_dead_letter_not_kept_total", Kind.COUNTER, "Refused ones that the dead letter had no room for."
)
PAUSED = Metric("appia_intake_paused", Kind.GAUGE, "1 while nothing is taken because the disk is full.")
DISK = Metric(
    "appia_disk_used_ratio", Kind.GAUGE, "Share of the state directory's file system that is used, 0 to 1."
)
QUEUE = Metric("appia_index_queue_bytes", Kind.GAUGE, "Events that wait for the indices, bytes.")
LAG = Metric("appia_index_lag_rows", Kind.GAUGE, "Rows that an index has still to take.", ("index",))
DUE = Metric(
    "appia_vectors_due", Kind.GAUGE, "Vectors that late events changed and that are not made again yet."
)
FAULT = Metric("appia_index_failing", Kind.GAUGE, "1 where an index fails at present.", ("index",))
REUSED = Metric(
    "appia_event_ids_reused_total", Kind.COUNTER, "Events under an id that another one of their sensor has."
)
V1_MISSING = Metric(
    "appia_v1_frames_missing",
    Kind.GAUGE,
    "Frames of version 1 that never came, by their counters.",
    ("sensor",),
)
V1_NONCES = Metric(
    "appia_v1_nonces_reused_total", Kind.COUNTER, "Nonces that a version 1 sensor used twice.", ("sensor",)
)
SENSOR_EVENTS = Metric(
    "appia_sensor_events_total", Kind.COUNTER, "Events that came of a sensor as they happened.", ("sensor",)
)
SENSOR_NEWEST = Metric(
    "appia_sensor_last_event_timestamp_seconds",
    Kind.GAUGE,
    "When the newest event of a sensor came in, seconds since 1970.",
    ("sensor",),
)
SENSOR_CLOCK = Metric(
    "appia_sensor_clock_offset_seconds",
    Kind.GAUGE,
    "Time that a sensor's newest event names less the time it came; above 0 its clock is ahead.",
    ("sensor",),
)
JOBS = Metric(
    "appia_jobs_total",
    Kind.COUNTER,
    "Work on days that has ended: done or failed, by its kind.",
    ("kind", "outcome"),
)
INGESTER_METRICS = (
    ACCEPTED,
    DUPLICATES,
    REFUSED,
    FRAMES,
    NOT_KEPT,
    PAUSED,
    DISK,
    QUEUE,
    LAG,
    DUE,
    FAULT,
    REUSED,
    V1_MISSING,
    V1_NONCES,
    SENSOR_EVENTS,
    SENSOR_NEWEST,
    SENSOR_CLOCK,
)


def source_of(status: Callable[[], Mapping[str, Any]]) -> Source:
    """The metrics of an ingester, from the counters that its operation `status` answers too."""
    return Source(INGESTER_METRICS, lambda: samples(status()))


def jobs_source(jobs: Jobs) -> Source:
    """How work on days ended, for each kind that there is."""

    def read() -> Iterator[Sample]:
        for kind in jobs.kinds:
            yield from (JOBS.of(jobs.outcomes[kind, outcome], kind, outcome) for outcome in (DONE, FAILED))

    return Source((JOBS,), read)


def samples(status: Mapping[str, Any]) -> Iterator[Sample]:
    """What a status says, as metrics; of sensors those with the largest numbers, and the others together."""
    yield ACCEPTED.of(status["accepted"])
    yield DUPLICATES.of(status["duplicates"])
    yield from (REFUSED.of(count, name) for name, count in largest(_NONE_REFUSED | status["refused"]).items())
    yield from (FRAMES.of(status["frames"].get(wire, 0), wire) for wire in ("v1", "v2"))
    yield NOT_KEPT.of(status["dead_letter_not_kept"])
    yield PAUSED.of(status["paused"])
    yield DISK.of(status["disk_percent"] / 100)
    yield QUEUE.of(status["queue_bytes"])
    yield from (LAG.of(rows, name) for name, rows in status["index_lag"].items())
    yield DUE.of(status["hours_due"])
    yield from (FAULT.of(name in status["index_faults"], name) for name in status["index_lag"])
    yield REUSED.of(status["reused_ids"])
    yield from _of_sensors(status)


def _of_sensors(status: Mapping[str, Any]) -> Iterator[Sample]:
    nodes, sensors = status["v1_nodes"], status["sensors"]
    for metric, key in ((V1_MISSING, "missing"), (V1_NONCES, "nonces_reused")):
        counts = largest({node: found[key] for node, found in nodes.items()})
        yield from (metric.of(count, node) for node, count in counts.items())
    events = largest({name: seen["events"] for name, seen in sensors.items()})
    yield from (SENSOR_EVENTS.of(count, name) for name, count in events.items())
    told: set[str] = set()
    for name, seen in sorted(sensors.items(), key=lambda item: -item[1]["newest_ns"])[:MOST_LABELS]:
        shown = label(name)
        if shown not in told:  # names that are the same as labels: the newest stands for them
            told.add(shown)
            yield SENSOR_NEWEST.of(seen["newest_ns"] / 1e9, shown)
            yield SENSOR_CLOCK.of(seen["clock_s"], shown)


def condition_of(settings: IngesterSettings, receiver: Receiver, beats: Beats) -> Condition:
    """What the ingester shows of itself. It is ready while events are taken."""
    process = Process("ingester", settings.name, version("appia"))
    return Condition(process, lambda: _readiness(receiver.gauge, beats), beats.stuck)


def _readiness(gauge: Gauge, beats: Beats) -> Readiness:
    if not beats.has_begun(INTAKE):
        return Readiness(ready=False, why="It is starting.")
    if gauge.is_paused:
        why = f"No events are taken: {gauge.used_percent:.1f} % of the disk are used."
        return Readiness(ready=False, why=why)
    return Readiness.of(beats.stuck())
