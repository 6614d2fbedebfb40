"""Suricata's eve.json: flow records become events, alerts join their flow, other records are skipped."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from services.feed.readers.convert import time_us
from services.feed.readers.events import (
    EventMaker,
    RowDigest,
    add_means,
    add_rates,
    numbered_lines,
    read_parts,
)
from services.feed.readers.json_rows import flat, parse_object
from services.feed.readers.plan import Dialect, Draft, RowPlan
from services.feed.readers.port import Item, ReadOptions, Refusal, RowRefusedError, Skipped, SourceBrokenError
from services.feed.readers.suricata_alerts import Alert, WaitingAlerts, severity_of, verdict
from services.feed.readers.table import Column, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.common.events.network_security_pb2 import NetworkSecurityEvent
    from services.feed.readers.sources import Part

COLUMNS: tuple[Column, ...] = (
    Column(("src_ip",), ("source_ip",), Kind.ADDRESS),
    Column(("dest_ip",), ("destination_ip",), Kind.ADDRESS),
    Column(("src_port",), ("source_port",), Kind.U32),
    Column(("dest_port",), ("destination_port",), Kind.U32),
    Column(("proto",), ("protocol_number", "protocol_name"), Kind.PROTOCOL),
    Column(("in_iface",), ("source_interface",), Kind.TEXT),
    Column(("flow_start",), ("flow_start_time",), Kind.START),
    Column(("flow_end",), ("flow_duration", "flow_duration_microseconds"), Kind.END, "microseconds"),
    Column(("flow_pkts_toserver",), ("total_forward_packets",), Kind.U64, "packets"),
    Column(("flow_pkts_toclient",), ("total_backward_packets",), Kind.U64, "packets"),
    Column(("flow_bytes_toserver",), ("total_forward_bytes",), Kind.U64, "bytes"),
    Column(("flow_bytes_toclient",), ("total_backward_bytes",), Kind.U64, "bytes"),
    *(
        Column((f"tcp_{flag}",), (f"{flag}_flag_count",), Kind.SEEN, "packets")
        for flag in ("fin", "syn", "rst", "psh", "ack", "urg")
    ),
    Column(("tcp_ecn",), ("ece_flag_count",), Kind.SEEN, "packets"),
    Column(("tcp_cwr",), ("cwe_flag_count",), Kind.SEEN, "packets"),
    Column(("tcp_tcp_flags_ts",), ("forward_psh_flags", "forward_urg_flags"), Kind.FORWARD_FLAGS, "packets"),
    Column(
        ("tcp_tcp_flags_tc",), ("backward_psh_flags", "backward_urg_flags"), Kind.BACKWARD_FLAGS, "packets"
    ),
    Column(("flow_id",), (), Kind.ID),
)
DIALECT = Dialect(COLUMNS)
HEADERS_REMEMBERED = 256
WAITING_BYTES = 64 << 20
LONGEST_WAIT_US = 24 * 3600 * 1_000_000


class SuricataEveReader:
    """Reads flows and alerts.

    `waiting_bytes` and `longest_wait_us` bound the alerts that wait for their flow (see suricata_alerts).
    """

    name = "suricata-eve"
    columns = COLUMNS

    def __init__(self, waiting_bytes: int = WAITING_BYTES, longest_wait_us: int = LONGEST_WAIT_US) -> None:
        self._waiting_bytes = waiting_bytes
        self._longest_wait_us = longest_wait_us

    def read(self, source: str, options: ReadOptions) -> Iterator[Item]:
        """See Reader."""
        waiting = WaitingAlerts(self._waiting_bytes, self._longest_wait_us)
        records = _Records(options, waiting)
        yield from read_parts(source, options, records.read_part)
        yield from map(records.alone, waiting.all_left())


class _Records:
    def __init__(self, options: ReadOptions, waiting: WaitingAlerts) -> None:
        self._options = options
        self._waiting = waiting
        self._maker = EventMaker(SuricataEveReader.name, options)
        self._plan_of = lru_cache(HEADERS_REMEMBERED)(lambda names: RowPlan(DIALECT, names, options))

    def read_part(self, part: Part) -> Iterator[Item]:
        checked = False
        for line in numbered_lines(part):
            if not isinstance(line, tuple):
                yield line
                continue
            number, text = line
            if not checked:
                _check_format(text, number)
                checked = True
            try:
                yield from self._items(part.name, number, text)
            except RowRefusedError as error:
                yield Refusal(part.name, number, error.reason, error.detail)

    def alone(self, alert: Alert) -> Item:
        """Return the event of an alert whose flow was not there."""
        try:
            record = parse_object(alert.text)
            draft = self._draft(record)
            if draft.start_us is None:
                draft.start_us = alert.time_us
            digest = RowDigest(SuricataEveReader.name, alert.source).of(alert.line, alert.text)
            event_id = f"{alert.flow_id}-{draft.start_us}-alert-{digest}"
            return self._maker.make(draft, event_id, verdict=verdict([alert], self._options.labels))
        except RowRefusedError as error:
            return Refusal(alert.source, alert.line, error.reason, error.detail)

    def _items(self, source: str, number: int, text: str) -> Iterator[Item]:
        record = parse_object(text)
        kind = record.get("event_type")
        if not isinstance(kind, str):
            raise RowRefusedError("no_event_type", "the record has no event_type")
        if kind == "flow":
            yield self._flow(record)
        elif kind == "alert":
            self._waiting.add(self._alert(record, source, number, text))
            yield from map(self.alone, self._waiting.leaving())
        else:
            yield Skipped(kind)

    def _alert(self, record: dict[str, Any], source: str, number: int, text: str) -> Alert:
        alert = record.get("alert")
        if not isinstance(alert, dict) or not isinstance(record.get("timestamp"), str):
            raise RowRefusedError("bad_alert", "the alert record has no alert object or no timestamp")
        return Alert(
            source=source,
            line=number,
            text=text,
            flow_id=str(record.get("flow_id", "")),
            time_us=time_us(record["timestamp"], self._options.timezone),
            signature=str(alert.get("signature", "")),
            category=str(alert.get("category", "")),
            severity=severity_of(alert.get("severity")),
        )

    def _flow(self, record: dict[str, Any]) -> NetworkSecurityEvent:
        draft = self._draft(record)
        flow_id = draft.ids.get("flow_id")
        if flow_id is None:
            raise RowRefusedError("no_flow_id", "the flow record has no flow_id")
        event_id = f"{flow_id}-{draft.start_us}"
        alerts = self._waiting.take(flow_id)
        if not alerts:
            return self._maker.make(draft, event_id)
        _describe(alerts, draft)
        return self._maker.make(draft, event_id, verdict=verdict(alerts, self._options.labels))

    def _draft(self, record: dict[str, Any]) -> Draft:
        row = flat(record)
        draft = self._plan_of(tuple(row)).draft(tuple(row.values()))
        add_rates(draft.features)
        add_means(draft.features)
        return draft


def _describe(alerts: Sequence[Alert], draft: Draft) -> None:
    """Put the alerts that joined a flow into its metadata; the verdicts hold their details."""
    draft.metadata["alert.count"] = str(len(alerts))
    draft.metadata["alert.signatures"] = "; ".join(sorted({alert.signature for alert in alerts}))


def _check_format(text: str, number: int) -> None:
    if not (text.startswith("{") and '"event_type"' in text):
        detail = f"the first line is no EVE record, it begins with {text[:60]!r}"
        raise SourceBrokenError("wrong_format", detail, number)
