"""How many requests a server answered, how, and how long it took."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING

from services.common.observing.metrics import Kind, Metric, Spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.common.observing.metrics import Sample

REQUESTS = Metric(
    "appia_requests_total",
    Kind.COUNTER,
    "Requests that were answered, by their outcome: ok, or the code of an error.",
    ("operation", "outcome"),
)
SECONDS = Metric(
    "appia_request_duration_seconds",
    Kind.HISTOGRAM,
    "Time from when a worker took a request to its answer.",
    ("operation",),
)
REQUEST_METRICS = (REQUESTS, SECONDS)
OK = "ok"
BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TEXTS = (*map(str, BOUNDS_S), "+Inf")


class RequestTimes:
    """Counts requests by operation; the names are those of the server, never of who asks. Safe for several threads."""

    def __init__(self) -> None:
        """None yet."""
        self._lock = threading.Lock()
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._within: dict[str, list[int]] = {}  # by operation, how many between two bounds
        self._total_s: dict[str, float] = {}

    def note(self, operation: str, outcome: str, seconds: float | None = None) -> None:
        """Count one; without `seconds` where no worker took it."""
        with self._lock:
            self._outcomes[operation, outcome] += 1
            if seconds is not None:
                within = self._within.setdefault(operation, [0] * len(_TEXTS))
                within[bisect_left(BOUNDS_S, seconds)] += 1
                self._total_s[operation] = self._total_s.get(operation, 0.0) + seconds

    def read(self) -> Iterator[Sample]:
        """The samples of `REQUEST_METRICS`."""
        with self._lock:
            outcomes = dict(self._outcomes)
            spreads = {
                name: Spread(tuple(zip(_TEXTS, accumulate(within), strict=True)), self._total_s[name])
                for name, within in self._within.items()
            }
        for (operation, outcome), count in outcomes.items():
            yield REQUESTS.of(count, operation, outcome)
        for operation, spread in spreads.items():
            yield SECONDS.of(spread, operation)
