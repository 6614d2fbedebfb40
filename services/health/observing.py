"""What the health service shows of the whole fleet as metrics: every reading under its signal, and the alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.observing.metrics import Kind, Metric, Source, label, largest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from services.common.observing.metrics import Sample
    from services.health.readings import Readings

SIGNAL = Metric(
    "appia_signal",
    Kind.GAUGE,
    "A reading of the health service; docs/alerts.md has the signals and their units. A condition is 0 or 1.",
    ("signal", "subject"),
)
UNKNOWN = Metric(
    "appia_signals_unknown", Kind.GAUGE, "Readings that cannot be taken at present; what they were stands."
)
ALERTS = Metric("appia_alerts_firing", Kind.GAUGE, "Alerts that fire, by severity.", ("severity",))
HEALTH_METRICS = (SIGNAL, UNKNOWN, ALERTS)
SEVERITIES = ("info", "warning", "critical")


def source_of(readings: Callable[[], Readings], firing: Callable[[], Mapping[str, int]]) -> Source:
    """The metrics of the health service.

    Args:
        readings: the last ones; for any thread.
        firing: how many alerts of each severity fire now; for any thread.
    """

    def read() -> Iterator[Sample]:
        found = readings()
        yield from _signals(found)
        yield UNKNOWN.of(len(found.unknown))
        alerts = firing()
        yield from (ALERTS.of(alerts.get(severity, 0), severity) for severity in SEVERITIES)

    return Source(HEALTH_METRICS, read)


def _signals(readings: Readings) -> Iterator[Sample]:
    """Of each signal the subjects with the largest values: sensors may be many, and name themselves."""
    by_signal: dict[str, dict[str, float]] = {}
    for reading in readings.items:
        subjects = by_signal.setdefault(reading.signal, {})
        shown = label(reading.subject)
        subjects[shown] = max(reading.value, subjects.get(shown, reading.value))
    for signal, subjects in by_signal.items():
        yield from (SIGNAL.of(subjects[name], signal, name) for name in largest(subjects) if name in subjects)
