"""Alerts of Suricata: what they say about a flow, and how they wait for it.

Suricata writes an alert when a signature fires and the flow when it has ended, so the alert comes first. The
waiting room is bounded twice: by the bytes of the alerts in it, and by how long one waits in the log's time.
An alert that has to leave becomes an event of its own; none is lost.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.events.network_security_pb2 import (
    DetectionProvenance,
    DetectorSource,
    EngineVerdict,
)
from services.feed.readers.port import LabelMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SCORE_BY_SEVERITY = {1: 1.0, 2: 0.66, 3: 0.33}
LOWEST_SCORE = 0.1
LEAST_SEVERE = 255
VERDICTS_KEPT = 16


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert record: where it stood, its text, and what the signature says.

    `time_us` is when it fired, in microseconds since the epoch; `severity` is 1 for the worst.
    """

    source: str
    line: int
    text: str
    flow_id: str
    time_us: int
    signature: str
    category: str
    severity: int

    @property
    def score(self) -> float:
        """The severity between 0 and 1."""
        return SCORE_BY_SEVERITY.get(self.severity, LOWEST_SCORE)


def severity_of(value: Any) -> int:
    """Return Suricata's severity (1 is the worst); what is none counts as the least severe."""
    return value if isinstance(value, int) and 1 <= value <= LEAST_SEVERE else LEAST_SEVERE


class WaitingAlerts:
    """Alerts whose flow has not been read yet, oldest first."""

    def __init__(self, budget_bytes: int, longest_wait_us: int) -> None:
        self._budget = budget_bytes
        self._longest_wait = longest_wait_us
        self._by_flow: OrderedDict[str, list[Alert]] = OrderedDict()
        self._bytes = 0
        self._now_us = 0

    def add(self, alert: Alert) -> None:
        """Let an alert wait; `leaving` says who must go for it."""
        self._by_flow.setdefault(alert.flow_id, []).append(alert)
        self._bytes += len(alert.text)
        self._now_us = max(self._now_us, alert.time_us)

    def take(self, flow_id: str) -> list[Alert]:
        """Return and forget the alerts of a flow."""
        alerts = self._by_flow.pop(flow_id, [])
        self._bytes -= sum(len(alert.text) for alert in alerts)
        return alerts

    def leaving(self) -> Iterator[Alert]:
        """Yield and forget the oldest alerts while the room is too full or they have waited too long."""
        while self._by_flow:
            flow_id, alerts = next(iter(self._by_flow.items()))
            waited = self._now_us - alerts[0].time_us
            if self._bytes <= self._budget and waited <= self._longest_wait:
                return
            yield from self.take(flow_id)

    def all_left(self) -> Iterator[Alert]:
        """Yield and forget everybody."""
        while self._by_flow:
            yield from self.take(next(iter(self._by_flow)))


def verdict(alerts: Sequence[Alert], labels: LabelMode) -> Mapping[str, Any]:
    """Return the event fields that the alerts of one flow speak for.

    The most severe alert leads, the first of several. A signature is what this contract calls the fast
    detector, and no other detector has spoken.
    """
    worst = min(alerts, key=lambda alert: alert.severity)
    fields: dict[str, Any] = {
        "fast_detector_triggered": True,
        "fast_detector_reason": worst.signature,
        "fast_detector_score": worst.score,
        "overall_threat_score": worst.score,
        "authoritative_source": DetectorSource.DETECTOR_SOURCE_FAST_ONLY,
        "provenance": DetectionProvenance(verdicts=[_engine_verdict(a) for a in alerts[:VERDICTS_KEPT]]),
    }
    if labels == LabelMode.CLASSIFICATION:
        fields["final_classification"] = "MALICIOUS"
        fields["threat_category"] = worst.category
    return fields


def _engine_verdict(alert: Alert) -> EngineVerdict:
    return EngineVerdict(
        engine_name="suricata",
        classification=alert.category,
        confidence=alert.score,
        reason_code=alert.signature,
        timestamp_ns=max(0, alert.time_us * 1000),
    )
