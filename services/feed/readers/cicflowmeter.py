"""CSV as CICFlowMeter writes it: dialects of the Java program, its data sets, and the Python rewrite."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING

from services.feed.readers.cicflowmeter_columns import COLUMNS
from services.feed.readers.convert import MICROSECONDS
from services.feed.readers.events import EventMaker, RowDigest, numbered_lines, read_parts
from services.feed.readers.plan import Dialect, RowPlan
from services.feed.readers.port import Item, ReadOptions, Refusal, RowRefusedError, Skipped, SourceBrokenError
from services.feed.readers.table import lookup, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.common.events.network_security_pb2 import NetworkSecurityEvent
    from services.feed.readers.sources import Part

REWRITE = "flow_duration"  # only the Python rewrite has names in snake case
_SHOWING = (REWRITE, "flow_pkts_s", "tot_fwd_pkts", "tot_bwd_pkts")
_BETWEEN_UNITS = 1000.0
NEEDED = {"source_ip": "Src IP", "destination_ip": "Dst IP", "flow_start_time": "Timestamp"}


class CicFlowMeterReader:
    """Reads flow records; the header of each file decides the dialect."""

    name = "cicflowmeter"
    columns = COLUMNS

    def read(self, source: str, options: ReadOptions) -> Iterator[Item]:
        """See Reader."""
        return read_parts(source, options, lambda part: self._read_part(part, options))

    def _read_part(self, part: Part, options: ReadOptions) -> Iterator[Item]:
        table: _Table | None = None
        for line in numbered_lines(part):
            if not isinstance(line, tuple):
                yield line
                continue
            number, text = line
            if table is None:
                table = _Table(number, text, part.name, options)
                continue
            try:
                yield table.event(number, text)
            except RowRefusedError as error:
                yield Refusal(part.name, number, error.reason, error.detail)


class _Table:
    def __init__(self, number: int, header: str, source: str, options: ReadOptions) -> None:
        self._header = header
        names = _header_cells(header, number)
        _check_format(names, header, number)
        self._plan = RowPlan(Dialect(COLUMNS), names, options)
        self._plan_of_seconds = RowPlan(Dialect(COLUMNS, MICROSECONDS), names, options)
        self._unit = _TimeUnit(names) if REWRITE in (name.strip() for name in names) else None
        missing = [name for field, name in NEEDED.items() if field not in self._plan.fields]
        if missing:
            raise SourceBrokenError("column_missing", f"there is no column {', '.join(missing)}", number)
        self._width = len(names)
        self._digest = RowDigest(CicFlowMeterReader.name, source)
        self._maker = EventMaker(CicFlowMeterReader.name, options)

    def event(self, number: int, text: str) -> NetworkSecurityEvent | Skipped:
        cells = text.split(",") if '"' not in text else _cells(text)
        if len(cells) != self._width:
            raise RowRefusedError(
                "wrong_column_count", f"{len(cells)} columns where the header has {self._width}"
            )
        if not cells[0] and not any(cells):
            return Skipped("empty_row")
        if text == self._header:
            return Skipped("repeated_header")
        in_seconds = self._unit is not None and self._unit.is_seconds(cells)
        draft = (self._plan_of_seconds if in_seconds else self._plan).draft(cells)
        label = draft.labels.get("label", "")
        return self._maker.make(draft, self._digest.of(number, text), label)


def _cells(text: str) -> list[str]:
    try:
        return next(csv.reader([text]))
    except csv.Error as error:
        raise RowRefusedError("bad_csv", str(error)) from error


def _header_cells(text: str, number: int) -> list[str]:
    try:
        return _cells(text)
    except RowRefusedError as error:
        raise SourceBrokenError(
            "wrong_format", f"the header is no line of CSV: {error.detail}", number
        ) from error


def _check_format(names: list[str], header: str, number: int) -> None:
    known = lookup(COLUMNS)
    if not any(plain(name) in known for name in names):
        detail = f"the first line names no column of CICFlowMeter, it begins with {header[:60]!r}"
        raise SourceBrokenError("wrong_format", detail, number)


class _TimeUnit:
    """Tells whether a row of the Python rewrite has its times in seconds or in microseconds.

    Its releases differ under the same column names, but each row shows its unit: duration times packets a
    second over packets is 1 in seconds and a million in microseconds. A row that shows nothing (a single
    packet has no duration) has the unit of the row before; the first one microseconds, as release 0.2.0.
    """

    def __init__(self, names: list[str]) -> None:
        plain_names = [name.strip() for name in names]
        known = all(name in plain_names for name in _SHOWING)
        self._places = [plain_names.index(name) for name in _SHOWING] if known else []
        self._in_seconds = not known

    def is_seconds(self, cells: list[str]) -> bool:
        """Look at one row."""
        if self._places:
            try:
                duration, rate, sent, received = (float(cells[place]) for place in self._places)
            except ValueError:
                return self._in_seconds
            packets = sent + received
            if duration > 0 and 0 < rate < math.inf and packets > 0:
                self._in_seconds = duration * rate / packets < _BETWEEN_UNITS
        return self._in_seconds
