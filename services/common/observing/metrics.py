"""Measures that are read when somebody scrapes, in the form that Prometheus takes.

A service declares each metric once (`Metric`: name, kind, meaning, labels), and gives a function that reads its
counters. Names follow https://prometheus.io/docs/practices/naming/: `appia_`, the thing, the unit; counters end in
`_total`. Values of labels may come from senders, so they are bounded in length (`label`) and in number (`largest`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from prometheus_client.core import Metric as Family

LONGEST_LABEL = 64
MOST_LABELS = 100
OTHERS = "(others)"
"""The label of all that was over the bound."""


class Kind(StrEnum):
    """What a value means: now, since the start, or how often up to each bound since the start."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Spread:
    """The value of a histogram: how many were at most each bound (cumulative, the last is `+Inf`), and their sum."""

    counts: tuple[tuple[str, int], ...]
    total: float


@dataclass(frozen=True)
class Metric:
    """One metric as it is scraped and documented."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()

    def of(self, value: float | Spread, *labels: str) -> Sample:
        """A value of it, with the values of its labels."""
        return Sample(self, value, labels)


@dataclass(frozen=True)
class Sample:
    """One value at one moment."""

    metric: Metric
    value: float | Spread
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """The metrics of one part of a service, and what reads them: for any thread, quick, never raises."""

    metrics: Sequence[Metric]
    read: Callable[[], Iterable[Sample]]


class SourceCollector:
    """Reads one source whenever its registry is scraped."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def describe(self) -> list[Family]:
        """Nothing: that it has no name twice is for tests to say, and asking would read it at the start."""
        return []

    def collect(self) -> Iterable[Family]:
        """One family of samples for each metric that has some now."""
        families: dict[str, Family] = {}
        for sample in self._source.read():
            metric = sample.metric
            family = families.get(metric.name)
            if family is None:
                family = families[metric.name] = _family(metric)
            _add(family, sample)
        return families.values()


def make_registry(sources: Iterable[Source]) -> CollectorRegistry:
    """A registry of its own with these sources, and what Linux tells of the process (`process_...`)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for source in sources:
        registry.register(SourceCollector(source))
    return registry


def label(text: str) -> str:
    """A text of somebody else as the value of a label: printable, and not long."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text[:LONGEST_LABEL])


def largest(counts: Mapping[str, float], most: int = MOST_LABELS) -> dict[str, float]:
    """The `most` largest of these by their labels, and the sum of all others under `OTHERS`."""
    found: dict[str, float] = {}
    for rank, (name, value) in enumerate(sorted(counts.items(), key=lambda item: (-item[1], item[0]))):
        key = label(name) if rank < most else OTHERS
        found[key] = found.get(key, 0) + value
    return found


def _family(metric: Metric) -> Family:
    kinds: dict[Kind, Any] = {
        Kind.GAUGE: GaugeMetricFamily,
        Kind.COUNTER: CounterMetricFamily,
        Kind.HISTOGRAM: HistogramMetricFamily,
    }
    family: Family = kinds[metric.kind](metric.name, metric.meaning, labels=metric.labels)
    return family


def _add(family: Any, sample: Sample) -> None:
    if isinstance(sample.value, Spread):
        family.add_metric(sample.labels, buckets=sample.value.counts, sum_value=sample.value.total)
    else:
        family.add_metric(sample.labels, sample.value)
