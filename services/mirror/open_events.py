"""Copies the events of an open segment: log, columns and tables byte for byte, and the database made from them.

The counter of the source is read first, then what it names; here the data is written and synced first, then the
counter, as the ingester does it. So a replica here never sees more than there is.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.common.counts import read_counts
from services.common.days.columns import ROW
from services.common.days.metadata import MetadataWriter
from services.common.durable import close_all
from services.common.events.parse import Refused, parse_event
from services.common.events.table import tabulate
from services.mirror.appended import Appended, BeginAnew
from services.mirror.open_logs import Logs
from services.mirror.open_tables import Tables, committed_rows
from services.mirror.source import BadSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from services.common.days.names import OpenNames
    from services.common.durable import Disk
    from services.common.rest.log_keys import LogKeys
    from services.mirror.source import Source

AT_ONCE = 4096
"""Rows that are pulled and committed together."""
COUNTER = "metadata"


@dataclass(frozen=True)
class Ground:
    """What all parts of a copy need."""

    disk: Disk
    source: Source
    keys: LogKeys


class EventsCopy:
    """Log, columns, tables and database of one open segment. For one thread; after an error it is opened anew."""

    def __init__(self, ground: Ground, local: OpenNames, remote: OpenNames) -> None:
        """Open behind the rows that are committed here; what lies beyond is cut off and pulled again."""
        self._ground, self._remote = ground, remote
        disk = ground.disk
        disk.make_folder(local.folder)
        self.rows, _ = read_counts(local.counts(COUNTER))
        rows = committed_rows(local, self.rows)
        kept = min(local.tags.stat().st_size // 4, self.rows) if local.tags.exists() else 0
        tags = np.fromfile(local.tags, "<u4", kept) if kept else np.empty(0, np.uint32)
        with ExitStack() as opened:
            self._metadata = opened.enter_context(closing(MetadataWriter(local.metadata, disk)))
            self._columns = opened.enter_context(
                closing(Appended(disk, local.columns, remote.columns, self.rows * ROW.itemsize))
            )
            self._tags = opened.enter_context(closing(Appended(disk, local.tags, remote.tags, kept * 4)))
            self._tables = opened.enter_context(closing(Tables(disk, (local, remote), rows, tags)))
            self._logs = opened.enter_context(
                closing(Logs(disk, (local, remote), np.array(rows["position"]), ground.keys))
            )
            self._complete_database(rows)
            self._counts = opened.enter_context(closing(disk.counts(local.counts(COUNTER))))
            self._counts.write(self.rows, 0)
            opened.pop_all()

    def _complete_database(self, rows: NDArray[np.void]) -> None:
        """Write what a power cut took of the database again, from the log that is here."""
        known = self._metadata.rows()
        for start in range(known, self.rows, AT_ONCE):
            self._note(start, rows[start : start + AT_ONCE])

    def step(self, rows: int, sizes: Mapping[str, int]) -> bool:
        """Pull up to `AT_ONCE` of the rows that the source has committed; whether there is more.

        Args:
            rows: what the counter of the source said, before `sizes` were listed.
            sizes: of the files of the segment at the source, bytes by name.

        Raises:
            BeginAnew: the source has other rows than those here, or fewer.
            BadSource: what it has does not fit together.
            AppiaError, OSError: it cannot be read, or not be written here.
        """
        if rows < self.rows:
            raise BeginAnew(
                f"The source has {rows} rows of {self._remote.folder} and had {self.rows} before: it is pulled anew."
            )
        until = min(rows, self.rows + AT_ONCE)
        source = self._ground.source
        # Segments of older releases have fewer tags than rows; a writer that goes on with one fills them in.
        tagged = min(sizes.get(self._remote.tags.name, 0) // 4, until)
        tags = self._tags.fetch_exactly(source, tagged * 4)
        columns = self._columns.fetch_exactly(source, until * ROW.itemsize)
        if not tags and not columns:
            return False
        self._take(np.frombuffer(columns, ROW), np.frombuffer(tags, "<u4"))
        self._columns.write(columns)
        self._tags.write(tags)
        for file in (self._logs, self._tables, self._columns, self._tags):
            file.sync()
        self.rows = until
        self._counts.write(until, 0)
        return until < rows

    def _take(self, rows: NDArray[np.void], tags: NDArray[np.uint32]) -> None:
        """Pull what rows refer to, and note them in the database."""
        self._tables.pull(self._ground.source, rows, tags)
        self._logs.pull(self._ground.source, rows["position"])
        if len(rows):
            self._note(self.rows, rows)

    def _note(self, first: int, rows: NDArray[np.void]) -> None:
        payloads = [self._logs.event(position) for position in rows["position"].tolist()]
        try:
            events = [parse_event(payload) for payload in payloads]
        except Refused as refused:
            raise BadSource(
                f"A log of {self._remote.folder} of the source holds what is no event ({refused.detail})."
            ) from None
        narratives = [self._tables.texts[code] for code in rows["narrative"].tolist()]
        self._metadata.append(first, tabulate(events, payloads), narratives)

    def close(self) -> None:
        """Close the files."""
        close_all([self._metadata, self._columns, self._tags, self._tables, self._logs, self._counts])
