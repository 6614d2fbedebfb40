"""Zeek's conn.log: tab separated with its header lines, or one JSON object a line; also the labelled kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from services.feed.readers.convert import MICROSECONDS
from services.feed.readers.events import (
    BENIGN,
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
from services.feed.readers.table import Column, Kind, plain, tells_the_label

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.common.events.network_security_pb2 import NetworkSecurityEvent
    from services.feed.readers.sources import Part

COLUMNS: tuple[Column, ...] = (
    Column(("id_orig_h",), ("source_ip",), Kind.ADDRESS),
    Column(("id_resp_h",), ("destination_ip",), Kind.ADDRESS),
    Column(("id_orig_p",), ("source_port",), Kind.U32),
    Column(("id_resp_p",), ("destination_port",), Kind.U32),
    Column(("proto",), ("protocol_number", "protocol_name"), Kind.PROTOCOL),
    Column(("ts",), ("flow_start_time",), Kind.START),
    Column(
        ("duration",),
        ("flow_duration", "flow_duration_microseconds"),
        Kind.DURATION,
        "microseconds",
        scaled=True,
    ),
    Column(("orig_bytes",), ("total_forward_bytes",), Kind.U64, "bytes"),
    Column(("resp_bytes",), ("total_backward_bytes",), Kind.U64, "bytes"),
    Column(("orig_pkts",), ("total_forward_packets",), Kind.U64, "packets"),
    Column(("resp_pkts",), ("total_backward_packets",), Kind.U64, "packets"),
    Column(
        ("history",),
        ("syn_flag_count", "ack_flag_count", "fin_flag_count", "rst_flag_count"),
        Kind.HISTORY,
        "packets",
    ),
    Column(("uid",), (), Kind.ID),
    Column(("label",), ("final_classification", "threat_category"), Kind.LABEL),
    Column(("detailedlabel", "detailed_label"), ("threat_category",), Kind.LABEL),
)
DIALECT = Dialect(COLUMNS, scale=MICROSECONDS)
NEEDED = {"flow_start_time": "ts", "source_ip": "id.orig_h", "destination_ip": "id.resp_h"}
CONN_ONLY = frozenset({"conn_state", "orig_bytes", "orig_pkts", "orig_ip_bytes", "duration"})
STREAM_KEYS = ("_path", "@stream", "@path")
HEADERS_REMEMBERED = 256
TIME_IN_JSON = '"ts"'


class ZeekConnReader:
    """Reads connections; the first line of each file decides between tabs and JSON."""

    name = "zeek-conn"
    columns = COLUMNS

    def read(self, source: str, options: ReadOptions) -> Iterator[Item]:
        """See Reader."""
        return read_parts(source, options, lambda part: self._read_part(part, options))

    def _read_part(self, part: Part, options: ReadOptions) -> Iterator[Item]:
        rows: _TabRows | _JsonRows | None = None
        for line in numbered_lines(part):
            if not isinstance(line, tuple):
                yield line
                continue
            number, text = line
            if rows is None:
                rows = _rows_for(text, number, part.name, options)
            try:
                item = rows.item(number, text)
            except RowRefusedError as error:
                yield Refusal(part.name, number, error.reason, error.detail)
                continue
            if item is not None:
                yield item


def _rows_for(text: str, number: int, source: str, options: ReadOptions) -> _TabRows | _JsonRows:
    connections = _Connections(source, options)
    if text.startswith("{") and TIME_IN_JSON in text:
        return _JsonRows(connections, options)
    if text.startswith("#"):
        return _TabRows(connections, options)
    detail = f"neither a header line of Zeek nor its JSON, the file begins with {text[:60]!r}"
    raise SourceBrokenError("wrong_format", detail, number)


class _Connections:
    """Turns drafts into events; what both spellings share."""

    def __init__(self, source: str, options: ReadOptions) -> None:
        self._digest = RowDigest(ZeekConnReader.name, source)
        self._maker = EventMaker(ZeekConnReader.name, options)

    def event(self, draft: Draft, number: int, text: str) -> NetworkSecurityEvent:
        features = draft.features
        if features.get("protocol_name") == "ICMP" and ":" in features.get("source_ip", ""):
            features["protocol_number"], features["protocol_name"] = 58, "IPV6-ICMP"
        add_rates(features)
        if _payload_is_whole(draft):
            add_means(features)
        event_id = draft.ids.get("uid") or self._digest.of(number, text)
        return self._maker.make(draft, event_id, _label(draft))


def _payload_is_whole(draft: Draft) -> bool:
    """Whether Zeek saw all bytes that it counted: none missed, and no more payload than packets carried."""
    if draft.metadata.get("missed_bytes") != "0":
        return False
    for ours, theirs in (("forward", "orig"), ("backward", "resp")):
        on_the_wire = draft.metadata.get(f"{theirs}_ip_bytes", "")
        payload = draft.features.get(f"total_{ours}_bytes")
        if payload is None or not on_the_wire.isdecimal() or payload > int(on_the_wire):
            return False
    return True


def _label(draft: Draft) -> str:
    """Return the finest word for what the row is: the detailed label unless it is benign, else the label."""
    label = draft.labels.get("label", "")
    if label.lower() in BENIGN:
        return label
    return draft.labels.get("detailedlabel", label)


def _missing_column(names: Sequence[str], plan: RowPlan) -> str | None:
    for field, name in NEEDED.items():
        if field not in plan.fields:
            return f"there is no column {name}"
    if not CONN_ONLY & {plain(name) for name in names}:
        return "none of the columns that only conn.log has is there (conn_state, duration, orig_pkts...)"
    return None


@dataclass(slots=True)
class _Layout:
    """What the header lines said so far."""

    separator: str = "\t"
    unset: str = "-"
    empty: str = "(empty)"
    names: tuple[str, ...] = ()


class _TabRows:
    def __init__(self, connections: _Connections, options: ReadOptions) -> None:
        self._connections = connections
        self._options = options
        self._layout = _Layout()
        self._plan: RowPlan | None = None
        self._glued_from = 0

    def item(self, number: int, text: str) -> NetworkSecurityEvent | None:
        if text.startswith("#"):
            self._directive(number, text)
            return None
        if self._plan is None:
            raise SourceBrokenError("column_missing", "there is no line #fields before the first row", number)
        return self._connections.event(self._plan.draft(self._cells(text)), number, text)

    def _directive(self, number: int, text: str) -> None:
        layout = self._layout
        if text.startswith("#separator"):
            layout.separator = _unescaped(text.removeprefix("#separator").strip(" ")) or "\t"
            return
        key, _, value = text.partition(layout.separator)
        if key == "#unset_field":
            layout.unset = value
        elif key == "#empty_field":
            layout.empty = value
        elif key == "#path" and not value.startswith("conn"):
            raise SourceBrokenError("wrong_format", f"this is Zeek's log {value!r}, not conn", number)
        elif text.startswith("#fields"):
            self._set_fields(tuple(text.replace(layout.separator, " ").split()[1:]), number)

    def _set_fields(self, names: tuple[str, ...], number: int) -> None:
        self._layout.names = names
        self._plan = RowPlan(DIALECT, names, self._options)
        if missing := _missing_column(names, self._plan):
            raise SourceBrokenError("column_missing", missing, number)
        first_label = next((i for i, name in enumerate(names) if tells_the_label(name)), len(names))
        self._glued_from = first_label - 1

    def _cells(self, text: str) -> list[str]:
        layout = self._layout
        cells = text.split(layout.separator)
        width = len(layout.names)
        if len(cells) < width:  # labelled logs glue the labels to the column before them with spaces
            tail = " ".join(cells[self._glued_from :])
            cells[self._glued_from :] = tail.split(None, width - self._glued_from - 1)
        if len(cells) != width:
            raise RowRefusedError("wrong_column_count", f"{len(cells)} columns where #fields has {width}")
        if layout.unset != "-" or layout.empty != "(empty)":
            return ["" if cell in {layout.unset, layout.empty} else cell for cell in cells]
        return cells


class _JsonRows:
    def __init__(self, connections: _Connections, options: ReadOptions) -> None:
        self._connections = connections
        self._plan_of = lru_cache(HEADERS_REMEMBERED)(lambda names: _json_plan(names, options))

    def item(self, number: int, text: str) -> NetworkSecurityEvent | Skipped:
        record = parse_object(text)
        stream = next((str(record[key]) for key in STREAM_KEYS if key in record), "conn")
        if not stream.startswith("conn"):
            return Skipped(stream)
        row = flat(record)
        plan, missing = self._plan_of(tuple(row))
        if missing:
            raise RowRefusedError("column_missing", missing)
        return self._connections.event(plan.draft(tuple(row.values())), number, text)


def _json_plan(names: tuple[str, ...], options: ReadOptions) -> tuple[RowPlan, str | None]:
    plan = RowPlan(DIALECT, names, options)
    return plan, _missing_column(names, plan)


def _unescaped(text: str) -> str:
    r"""Return the separator that Zeek writes as `\x09`: a tab."""
    return re.sub(r"\\x([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), text)
