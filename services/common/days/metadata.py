"""The SQLite database of a day: every event in readable form, one row each, numbered as in every index of the day."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from services.common.durable import REAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from services.common.durable import Disk
    from services.common.events.table import EventTable

SOURCES = ("UNKNOWN", "FAST_ONLY", "ML_ONLY", "FAST_PRIORITY", "ML_PRIORITY", "CONSENSUS", "DIVERGENCE")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS narratives (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS events (
    row INTEGER PRIMARY KEY, event_id TEXT NOT NULL, time_ns INTEGER NOT NULL,
    src_ip TEXT NOT NULL, src_port INTEGER NOT NULL, dst_ip TEXT NOT NULL, dst_port INTEGER NOT NULL,
    protocol INTEGER NOT NULL, class TEXT NOT NULL, category TEXT NOT NULL, label TEXT NOT NULL, node TEXT NOT NULL,
    overall REAL NOT NULL, fast REAL NOT NULL, ml REAL NOT NULL, divergence REAL NOT NULL,
    source INTEGER NOT NULL, fast_triggered INTEGER NOT NULL, fast_reason TEXT NOT NULL, tags TEXT NOT NULL,
    narrative INTEGER NOT NULL REFERENCES narratives(id)
);
CREATE INDEX IF NOT EXISTS events_by_id ON events(event_id);
"""
_INSERT = f"INSERT OR REPLACE INTO events VALUES ({','.join('?' * 21)})"  # noqa: S608 - only marks
_COLUMNS = (
    "row, event_id, time_ns, src_ip, src_port, dst_ip, dst_port, protocol, class, category, label, node, "
    "overall, fast, ml, divergence, source, fast_triggered, fast_reason, tags, narratives.text AS narrative"
)
_SELECT = f"SELECT {_COLUMNS} FROM events JOIN narratives ON narratives.id = narrative WHERE row IN "  # noqa: S608
_SQLITE_VARIABLES = 900
_NARRATIVES = "SELECT text, id FROM narratives NOT INDEXED"
"""From the table itself, which may lack what an index of it still has."""
_NO_DAMAGE = (
    sqlite3.OperationalError,
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
)
"""What SQLite raises for a full disk, a lock or a wrong call, as against `DatabaseError` itself for a damaged file."""
_SEALED = "mode=ro&immutable=1"
_LOG_FILES = ("-wal", "-shm")
"""Beside a database in WAL mode: its log, and what its users share in memory."""

EventFields = dict[str, Any]
SensorId = tuple[str, str]
"""Name of a sensor, and the id that it gave an event."""


class MetadataWriter:
    """The one connection that writes a day's database. Used by one thread at a time."""

    def __init__(self, path: Path, disk: Disk = REAL) -> None:
        """Open or create the database at `path` in WAL mode, so that replicas read while it grows.

        A damaged one is begun anew, as all that is in it comes from the log. Blocks for about 0.2 s a million rows, and
        as long as SQLite's own check takes where nobody closed it in order.
        """
        self._path, self._disk = path, disk
        self._is_finished = False
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, _NO_DAMAGE):
                raise
            self._discard()
            self._open()

    def _open(self) -> None:
        log = self._path.with_name(f"{self._path.name}-wal")
        was_closed = not log.exists() or not log.stat().st_size
        self._db = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        try:
            # What a power cut takes is written again from the log, so the WAL need not be synced at each commit.
            self._db.executescript(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-4000;" + _SCHEMA
            )
            self._narratives: dict[str, int] = dict(self._db.execute(_NARRATIVES))
            self._check_whole()
            if not was_closed and self._db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("a page of the database is damaged")
        except sqlite3.Error:
            self._db.close()
            raise

    def _check_whole(self) -> None:
        """Raise where rows are missing, or narratives that they refer to."""
        last = "SELECT count(*), coalesce(max(row), -1), coalesce(max(narrative), -1) FROM events NOT INDEXED"
        rows, row, narrative = self._db.execute(last).fetchone()
        texts = len(self._narratives)
        if rows != row + 1 or narrative >= texts or max(self._narratives.values(), default=-1) != texts - 1:
            raise sqlite3.DatabaseError("rows of the database are missing")

    def _discard(self) -> None:
        self._db.close()
        for end in (*_LOG_FILES, ""):
            self._disk.remove(self._path.with_name(self._path.name + end))

    def rows(self) -> int:
        """How many rows are committed, counted from the first without a gap."""
        (last,) = self._db.execute("SELECT max(row) FROM events").fetchone()
        return 0 if last is None else int(last) + 1

    def tags(self, first_row: int, end: int) -> list[str]:
        """The tags of rows from `first_row` to before `end`, joined by "," each, in their order."""
        wanted = "SELECT tags FROM events WHERE row >= ? AND row < ? ORDER BY row"
        return [text for (text,) in self._db.execute(wanted, (first_row, end))]

    def append(self, first_row: int, table: EventTable, narratives: Sequence[str]) -> list[SensorId]:
        """Commit the events of `table` with their narratives as rows from `first_row`, in one transaction.

        Gives the names of those that an event before has too: another one, as an event is in a day once.

        Raises:
            sqlite3.Error: it could not be done. Where the database is damaged it is gone then, and begun anew by who
                opens it next.
        """
        try:
            reused = self._reused(first_row, table)
            self._insert(first_row, table, narratives)
        except sqlite3.DatabaseError as error:
            if not isinstance(error, _NO_DAMAGE):
                self._discard()
            raise
        self._disk.calls.written_by_library(self._path)
        return reused

    def _reused(self, first_row: int, table: EventTable) -> list[SensorId]:
        ids = list(dict.fromkeys(table.event_id))
        known: set[SensorId] = set()
        for start in range(0, len(ids), _SQLITE_VARIABLES):
            part = ids[start : start + _SQLITE_VARIABLES]
            marks = ",".join("?" * len(part))
            # "+" keeps SQLite from reading all rows before instead of looking the ids up.
            select = f"SELECT node, event_id FROM events WHERE event_id IN ({marks}) AND +row < ?"  # noqa: S608 - only marks
            known.update(self._db.execute(select, (*part, first_row)))
        reused = []
        for name in zip(table.node, table.event_id, strict=True):
            if name in known:
                reused.append(name)
            known.add(name)
        return reused

    def _insert(self, first_row: int, table: EventTable, narratives: Sequence[str]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            codes = self._narrative_codes(narratives)
            self._db.executemany(_INSERT, _event_rows(first_row, table, codes))
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _narrative_codes(self, narratives: Sequence[str]) -> list[int]:
        known = self._narratives
        new = [
            (len(known) + i, text)
            for i, text in enumerate(t for t in dict.fromkeys(narratives) if t not in known)
        ]
        if new:
            self._db.executemany("INSERT OR REPLACE INTO narratives VALUES (?, ?)", new)
            known.update((text, code) for code, text in new)
        return list(map(known.__getitem__, narratives))

    def finish(self) -> None:
        """Make the database one plain file that never changes again, and close it."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.close()
        self._is_finished = True
        self._disk.calls.written_by_library(self._path)

    def close(self) -> None:
        """Close the connection, and leave an empty write-ahead log, where no reader is in the way.

        SQLite takes the files of the log away with the last connection. Who may not write beside a database in WAL mode
        can open it only while they are there (https://sqlite.org/wal.html#read_only_databases): a replica has to start
        while this process is away, too. A disk that fails or is full raises nothing here: nothing is lost by it.
        """
        with suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()
        if self._path.exists() and not self._is_finished:
            with suppress(OSError):
                for end in _LOG_FILES:
                    self._disk.append_to(self._path.with_name(f"{self._path.name}{end}")).close()


def _event_rows(first_row: int, table: EventTable, narratives: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    return zip(
        range(first_row, first_row + len(table.event_id)),
        table.event_id,
        table.time_ns.tolist(),
        table.src_ip,
        table.src_port.tolist(),
        table.dst_ip,
        table.dst_port.tolist(),
        table.protocol.tolist(),
        table.klass,
        table.category,
        table.label,
        table.node,
        table.overall.tolist(),
        table.fast.tolist(),
        table.ml.tolist(),
        table.divergence.tolist(),
        table.source.tolist(),
        table.fast_triggered.tolist(),
        table.fast_reason,
        table.tags,
        narratives,
        strict=True,
    )


class MetadataReader:
    """Reads a day's database. Use one a thread."""

    def __init__(self, path: Path, *, immutable: bool) -> None:
        """Open the database read-only; `immutable` for a sealed day (SQLite then takes no locks)."""
        flags = _SEALED if immutable else "mode=ro"
        self._db = sqlite3.connect(_uri(path, flags), uri=True, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA cache_size=-256")

    def find(self, event_id: str) -> list[int]:
        """Rows of the events with this id, ascending; normally one or none."""
        found = self._db.execute("SELECT row FROM events WHERE event_id = ? ORDER BY row", (event_id,))
        return [int(row) for (row,) in found]

    def find_many(self, event_ids: Sequence[str]) -> list[tuple[str, int]]:
        """The rows of all events with these ids, each with its id, ascending among those of one id."""
        found: list[tuple[str, int]] = []
        for start in range(0, len(event_ids), _SQLITE_VARIABLES):
            part = event_ids[start : start + _SQLITE_VARIABLES]
            marks = ",".join("?" * len(part))
            select = f"SELECT event_id, row FROM events WHERE event_id IN ({marks}) ORDER BY row"  # noqa: S608 - only marks
            found += [(str(event_id), int(row)) for event_id, row in self._db.execute(select, part)]
        return found

    def fetch(self, rows: Sequence[int]) -> list[EventFields]:
        """The events in these rows, in the order asked for, as dictionaries of plain values (see `present`)."""
        found: dict[int, EventFields] = {}
        for start in range(0, len(rows), _SQLITE_VARIABLES):
            part = rows[start : start + _SQLITE_VARIABLES]
            marks = ",".join("?" * len(part))
            found.update((int(r["row"]), present(r)) for r in self._db.execute(f"{_SELECT} ({marks})", part))
        return [found[row] for row in rows]

    def tagged(self, passes: Callable[[str], bool]) -> list[int]:
        """The rows whose tags, joined by ",", pass, ascending. Blocks for about half a second a million rows."""
        known: dict[str, bool] = {}
        rows = []
        for row, text in self._db.execute("SELECT row, tags FROM events ORDER BY row"):
            if text not in known:
                known[text] = passes(text)
            if known[text]:
                rows.append(int(row))
        return rows

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


def _uri(path: Path, flags: str) -> str:
    """A database as SQLite takes it, in whatever folder: `?`, `#` and `%` would else begin something else."""
    return f"file:{quote(str(path))}?{flags}"


def present(row: Mapping[str, Any] | sqlite3.Row) -> EventFields:
    """The fields of an event as a user sees them: ISO time in UTC, names for numbers."""
    seconds, nanoseconds = divmod(row["time_ns"], 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).isoformat()[:19]  # a quarter of the time of `strftime`
    fields = {name: row[name] for name in row.keys() if name not in ("row", "time_ns", "source")}  # noqa: SIM118 - sqlite3.Row iterates values
    fields["time"] = f"{moment}.{nanoseconds // 1000:06d}Z"
    fields["source"] = SOURCES[row["source"]] if row["source"] < len(SOURCES) else str(row["source"])
    fields["fast_triggered"] = bool(row["fast_triggered"])
    return fields


def check_database(path: Path) -> Iterable[str]:
    """What SQLite's own check says against the database at `path`; empty when it is whole."""
    try:
        with closing(sqlite3.connect(_uri(path, _SEALED), uri=True)) as db:
            return [text for (text,) in db.execute("PRAGMA quick_check") if text != "ok"]
    except sqlite3.Error as error:  # it is missing, or no database at all
        return [str(error)]
