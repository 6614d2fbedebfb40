"""A batch of events as columns: decoded once, then used by every index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.events.parse import NANOSECONDS, canonical_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.common.events.network_security_pb2 import NetworkSecurityEvent

# What sensors write where a feature could not be computed (docs/features.md).
SENTINEL = -9999.0
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class EventTable:
    """n events as n-long columns; row i of every column belongs to the same event.

    Ports outside 0..65535 and protocols outside 0..255 are 0. Scores that are NaN, infinite or -9999 are 0.
    """

    payloads: list[bytes]
    event_id: list[str]
    node: list[str]
    time_ns: NDArray[np.int64]  # event time, nanoseconds since 1970 UTC
    src_ip: list[str]  # canonical text
    dst_ip: list[str]  # canonical text
    src_port: NDArray[np.uint16]
    dst_port: NDArray[np.uint16]
    protocol: NDArray[np.uint8]  # IANA protocol number
    category: list[str]  # threat_category
    klass: list[str]  # final_classification
    label: list[str]  # custom_metadata["label"], "" where there is none
    overall: NDArray[np.float32]  # overall_threat_score
    fast: NDArray[np.float32]  # fast_detector_score
    ml: NDArray[np.float32]  # ml_detector_score
    divergence: NDArray[np.float32]  # how far the two detectors are apart, see `_divergence`
    source: NDArray[np.uint8]  # authoritative_source (enum DetectorSource), 0 where above 255
    fast_triggered: NDArray[np.bool_]
    fast_reason: list[str]
    tags: list[str]  # event_tags joined by ","
    packets: NDArray[np.float64]  # forward and backward together
    bytes: NDArray[np.float64]  # forward and backward together

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.payloads)

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> EventTable:
        """Give the named rows, in that order, as a table of their own (copies)."""
        index = np.asarray(rows, np.intp)
        order = index.tolist()
        taken: dict[str, Any] = {
            name: column[index] if isinstance(column, np.ndarray) else [column[row] for row in order]
            for name, column in vars(self).items()
        }
        return EventTable(**taken)


def tabulate(events: Sequence[NetworkSecurityEvent], payloads: Sequence[bytes]) -> EventTable:
    """Columns of n events that `parse_event` accepted, and of the n payloads they were read from.

    Raises `ValueError` where the two lengths differ or an address is none.
    """
    if len(events) != len(payloads):
        raise ValueError(f"{len(events)} events cannot have {len(payloads)} payloads")
    rows = [_identity(event) for event in events]
    flows = [_flow(event) for event in events]
    verdicts = [_verdict(event) for event in events]
    event_id, node, time_ns = _columns(rows, 3)
    src_ip, dst_ip, src_port, dst_port, protocol, packets, size = _columns(flows, 7)
    klass, category, label, overall, fast, ml, divergence, source, triggered, reason, tags = _columns(
        verdicts, 11
    )
    return EventTable(
        payloads=list(payloads),
        event_id=event_id,
        node=node,
        time_ns=np.array(time_ns, np.int64),
        src_ip=src_ip,
        dst_ip=dst_ip,
        src_port=_limited(src_port, 0xFFFF).astype(np.uint16),
        dst_port=_limited(dst_port, 0xFFFF).astype(np.uint16),
        protocol=_limited(protocol, 0xFF).astype(np.uint8),
        category=category,
        klass=klass,
        label=label,
        overall=_scores(overall),
        fast=_scores(fast),
        ml=_scores(ml),
        divergence=_scores(divergence),
        source=_limited(source, 0xFF).astype(np.uint8),
        fast_triggered=np.array(triggered, np.bool_),
        fast_reason=reason,
        tags=tags,
        packets=np.array(packets, np.float64),
        bytes=np.array(size, np.float64),
    )


def _columns(rows: list[tuple[Any, ...]], width: int) -> list[list[Any]]:
    if not rows:
        return [[] for _ in range(width)]
    return [list(column) for column in zip(*rows, strict=True)]


def _identity(event: NetworkSecurityEvent) -> tuple[Any, ...]:
    stamp = event.event_timestamp
    return event.event_id, event.originating_node_id, stamp.seconds * NANOSECONDS + stamp.nanos


def _flow(event: NetworkSecurityEvent) -> tuple[Any, ...]:
    flow = event.network_features
    return (
        canonical_address(flow.source_ip),
        canonical_address(flow.destination_ip),
        flow.source_port,
        flow.destination_port,
        flow.protocol_number,
        flow.total_forward_packets + flow.total_backward_packets,
        flow.total_forward_bytes + flow.total_backward_bytes,
    )


def _verdict(event: NetworkSecurityEvent) -> tuple[Any, ...]:
    metadata = event.custom_metadata
    fast = event.fast_detector_score
    ml = event.ml_detector_score
    return (
        event.final_classification,
        event.threat_category,
        metadata["label"] if "label" in metadata else "",  # noqa: SIM401 - a protobuf map's get() is slower
        event.overall_threat_score,
        fast,
        ml,
        _divergence(event, fast, ml),
        event.authoritative_source,
        event.fast_detector_triggered,
        event.fast_detector_reason,
        ",".join(event.event_tags),
    )


def _divergence(event: NetworkSecurityEvent, fast: float, ml: float) -> float:
    """What the sensor says about it; failing that, the distance of the two scores where both are set."""
    if event.HasField("decision_metadata"):
        said = event.decision_metadata.score_divergence
        if said:
            return said
    if event.HasField("provenance"):
        said = event.provenance.discrepancy_score
        if said:
            return said
    return abs(fast - ml) if fast and ml else 0.0


def _limited(numbers: list[int], largest: int) -> NDArray[np.int64]:
    column = np.array(numbers, np.int64)
    return np.where((column >= 0) & (column <= largest), column, 0)


def _scores(numbers: list[float]) -> NDArray[np.float32]:
    column = np.array(numbers, np.float64)
    column[~np.isfinite(column) | (column == SENTINEL)] = 0.0
    return np.clip(column, -LARGEST_FLOAT32, LARGEST_FLOAT32).astype(np.float32)
