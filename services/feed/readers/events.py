"""From a draft to an event: identifier, time, labels, and the measures that follow from others."""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.feed.readers.convert import MICROSECONDS, timestamp
from services.feed.readers.port import (
    Idle,
    Item,
    LabelMode,
    ReadOptions,
    Refusal,
    RowRefusedError,
    SourceBrokenError,
)
from services.feed.readers.sources import Part, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from services.feed.readers.plan import Draft

BENIGN = frozenset({"benign", "normal", "background"})
NO_LABEL = frozenset({"", "needmanuallabel", "no label", "unknown", "nan"})
DIGEST_BYTES = 16
NO_VERDICT: Mapping[str, Any] = MappingProxyType({})


class RowDigest:
    """Identifiers for rows that have none: 128 bits over format, source, line number and the row's text."""

    def __init__(self, reader: str, source: str) -> None:
        self._start = hashlib.blake2b(
            f"{reader}\0{source}\0".encode(errors="replace"), digest_size=DIGEST_BYTES
        )

    def of(self, line: int, text: str) -> str:
        """Return 32 hexadecimal digits, the same in every run."""
        digest = self._start.copy()
        digest.update(f"{line}\0{text}".encode(errors="replace"))
        return digest.hexdigest()


class EventMaker:
    """Makes events of one format under one set of options."""

    def __init__(self, reader: str, options: ReadOptions) -> None:
        self._node = options.node or f"feed-{reader}"
        self._labels = options.labels

    def make(
        self, draft: Draft, event_id: str, label: str = "", verdict: Mapping[str, Any] = NO_VERDICT
    ) -> NetworkSecurityEvent:
        """Return the event of a draft.

        `label` is the data set's, "" where it has none; `verdict` holds fields of the event that a detector
        spoke for.

        Raises:
            RowRefusedError: no_source_ip, no_destination_ip, no_timestamp, or bad_value for a value that the
                contract cannot hold.
        """
        features = draft.features
        for needed in ("source_ip", "destination_ip"):
            if needed not in features:
                raise RowRefusedError(f"no_{needed}", f"the row has no {needed.replace('_', ' ')}")
        if draft.start_us is None:
            raise RowRefusedError("no_timestamp", "the row has no time")
        start = timestamp(draft.start_us)
        features["flow_start_time"] = start
        labelled = self._apply_label(label, draft.metadata)
        try:
            return NetworkSecurityEvent(
                event_id=event_id,
                event_timestamp=start,
                originating_node_id=self._node,
                network_features=features,
                custom_metadata=draft.metadata,
                **labelled,
                **verdict,
            )
        except ValueError as error:  # a text with half a surrogate pair, a time beyond the year 9999
            raise RowRefusedError("bad_value", str(error)) from error

    def _apply_label(self, label: str, metadata: dict[str, str]) -> dict[str, Any]:
        if self._labels == LabelMode.NONE or label.lower() in NO_LABEL:
            return {}
        metadata["label"] = label
        if self._labels == LabelMode.METADATA:
            return {}
        return {"final_classification": classification(label), "threat_category": label}


def classification(label: str) -> str:
    """Return BENIGN for the words data sets use for it, MALICIOUS for any other label."""
    return "BENIGN" if label.strip().lower() in BENIGN else "MALICIOUS"


def add_rates(features: dict[str, Any]) -> None:
    """Add the rates per second that follow from duration, packets and bytes, each where its parts are known.

    A flow without a duration has no rate. The download/upload ratio is backward over forward packets, as
    CICFlowMeter has it.
    """
    forward, backward = features.get("total_forward_packets"), features.get("total_backward_packets")
    if forward and backward is not None:
        features["download_upload_ratio"] = backward / forward
    micros = features.get("flow_duration_microseconds")
    if not micros:
        return
    seconds = micros / MICROSECONDS
    if forward is not None and backward is not None:
        features["flow_packets_per_second"] = (forward + backward) / seconds
        features["forward_packets_per_second"] = forward / seconds
        features["backward_packets_per_second"] = backward / seconds
    forward_bytes, backward_bytes = features.get("total_forward_bytes"), features.get("total_backward_bytes")
    if forward_bytes is not None and backward_bytes is not None:
        features["flow_bytes_per_second"] = (forward_bytes + backward_bytes) / seconds


def add_means(features: dict[str, Any]) -> None:
    """Add the mean packet lengths: bytes over packets, where both are counted over the same packets."""
    packets = bytes_ = 0
    for direction in ("forward", "backward"):
        count, size = features.get(f"total_{direction}_packets"), features.get(f"total_{direction}_bytes")
        if count is None or size is None:
            return
        packets, bytes_ = packets + count, bytes_ + size
        if count:
            features[f"{direction}_packet_length_mean"] = size / count
            features[f"average_{direction}_segment_size"] = size / count
    if packets:
        features["packet_length_mean"] = features["average_packet_size"] = bytes_ / packets


def read_parts(
    source: str, options: ReadOptions, read_part: Callable[[Part], Iterator[Item]]
) -> Iterator[Item]:
    """Yield what `read_part` makes of each file; what ends a file early becomes one refusal of that file."""
    for part in parts(source, options):
        try:
            yield from read_part(part)
        except SourceBrokenError as error:
            yield Refusal(part.name, error.line, error.reason, error.detail, row=False)
            if options.follow:  # the same file would be opened and refused for ever
                return


def numbered_lines(part: Part) -> Iterator[tuple[int, str] | Item]:
    """Yield (number, text) for each line that is not blank; lines that are no text come as refusals."""
    for line in part.lines():
        if isinstance(line, tuple):
            if line[1] and not line[1].isspace():
                yield line
        elif isinstance(line, Idle):
            yield line
        else:
            yield Refusal(part.name, line.number, line.reason, line.detail)
