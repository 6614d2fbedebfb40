"""Builds the chunk of a sealed day from the logs alone: all its events, sorted by time, each exactly once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.chunk import ADDRESSES, COLUMNS, EVENTS, IDENTITIES, METADATA, SYMBOLS, TAGS_FILE
from services.common.days.columns import ROW, AddressTable, TextTable, write_columns
from services.common.days.identity import IDENTITY, identities, sort_identities
from services.common.days.log import LogReader, LogWriter
from services.common.days.log_blocks import EVENTS_A_BLOCK
from services.common.days.log_format import BLOCK, EVENT, Damage
from services.common.days.manifest import MANIFEST, Manifest, digest_folder
from services.common.days.metadata import MetadataWriter
from services.common.days.open_writer import FILE_SHIFT, SegmentLogReader, Tables, column_rows
from services.common.days.raw import raw
from services.common.errors import AppiaError
from services.common.events.features import extract
from services.common.events.narrative import Narrator
from services.common.events.parse import parse_event
from services.common.events.table import tabulate
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.chunk import Chunk
    from services.common.days.names import OpenNames
    from services.common.durable import Disk
    from services.common.events.vocabulary import Vocabulary
    from services.common.rest.log_keys import LogKeys

COMPRESSION = {"fast": 0, "balanced": 6, "maximum": 12}
"""LZ4 level of the chunk's log by policy; 0 is plain LZ4, the others LZ4-HC."""

_BATCH = 32 * EVENTS_A_BLOCK

Progress = Callable[[str, int, int], None]
"""Called with the step's name, how much is done and how much there is."""


@dataclass(frozen=True)
class Source:
    """Events to be sealed: where they are, when they were, what they are, and how to read one."""

    positions: NDArray[np.int64]  # (n,)
    time_ns: NDArray[np.int64]  # (n,)
    identities: NDArray[np.void]  # (n,) of dtype IDENTITY
    read: Callable[[int], bytes | None]
    lost: int = 0  # damaged stretches of the log


@dataclass(frozen=True)
class ChunkPlan:
    """What a chunk is to be built as."""

    day: str
    generation: int
    through_segment: int
    compression: str = "balanced"


def open_source(names: OpenNames, keys: LogKeys = NO_KEYS) -> Source:
    """The events of an open segment, read from its log from end to end.

    Raises:
        AppiaError: a log file cannot be opened, or is encrypted and its key not at hand.
    """
    positions: list[int] = []
    times: list[int] = []
    found: list[NDArray[np.void]] = []
    lost = 0
    for number in names.logs():
        reader = LogReader(names.log(number), keys)
        batch: list[bytes] = []
        for record in reader.scan():
            if isinstance(record, Damage):
                lost += 1
            elif record.type == EVENT:
                positions.append(record.offset | (number << FILE_SHIFT))
                times.append(parse_event(record.payload).event_timestamp.ToNanoseconds())
                batch.append(record.payload)
            if len(batch) >= _BATCH:
                found.append(identities(batch))
                batch = []
        found.append(identities(batch))
        reader.close()
    everything = np.concatenate([np.empty(0, IDENTITY), *found])
    reader_of_all = SegmentLogReader(names, keys)
    return Source(
        np.array(positions, np.int64), np.array(times, np.int64), everything, reader_of_all.event, lost
    )


def sealed_source(chunk: Chunk) -> Source:
    """The events of a generation sealed before."""
    found = [identities(events) for events in iterate_blocks(chunk)]
    return Source(
        np.asarray(chunk.columns["position"], np.int64),
        np.asarray(chunk.columns["time_ns"], np.int64),
        np.concatenate([np.empty(0, IDENTITY), *found]),
        chunk.log.event,
    )


def log_source(log: LogReader, lost: int = 0) -> Source:
    """The events of a sealed log, read from end to end and by nothing but their own checksums.

    Raises:
        AppiaError: a part of it is damaged, or it is encrypted and its key not at hand.
    """
    positions: list[int] = []
    times: list[int] = []
    found: list[NDArray[np.void]] = []
    for record in log.scan():
        if isinstance(record, Damage):
            raise AppiaError(f"{log.path}: bytes {record.start} to {record.end} hold no valid record")
        if record.type == BLOCK:
            events = log.block(record.offset)
            positions += [record.offset << 8 | place for place in range(len(events))]
            times += [parse_event(event).event_timestamp.ToNanoseconds() for event in events]
            found.append(identities(events))
    everything = np.concatenate([np.empty(0, IDENTITY), *found])
    return Source(np.array(positions, np.int64), np.array(times, np.int64), everything, log.event, lost)


def iterate_blocks(chunk: Chunk) -> Iterator[list[bytes]]:
    """The events of a chunk in row order, some at a time.

    Raises:
        AppiaError: a block is damaged.
    """
    for offset in np.unique(np.asarray(chunk.columns["position"], np.int64) >> 8).tolist():
        yield chunk.log.block(offset)


def build_chunk(folder: Path, plan: ChunkPlan, sources: Sequence[Source], tools: ChunkTools) -> Manifest:
    """Write a chunk into the empty `folder`; blocks for about 40 microseconds an event.

    Raises:
        AppiaError: an event that the log holds cannot be read.
    """
    order, sources_of, positions, unique = _arrange(sources)
    with closing(_ChunkWriter(folder, COMPRESSION[plan.compression], tools)) as writer:
        for start in range(0, len(order), _BATCH):
            part = order[start : start + _BATCH]
            payloads = [
                _read(sources[s], p)
                for s, p in zip(sources_of[part].tolist(), positions[part].tolist(), strict=True)
            ]
            writer.append(payloads)
            tools.progress("chunk", start + len(part), len(order))
        writer.finish()
    tools.disk.put(folder / IDENTITIES, raw(sort_identities(unique)))
    manifest = Manifest(
        kind="chunk",
        day=plan.day,
        generation=plan.generation,
        rows=len(order),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        artifacts=digest_folder(folder),
        facts={
            "through_segment": plan.through_segment,
            "lost": sum(source.lost for source in sources),
            "reused_ids": writer.reused_ids,
            "compression": plan.compression,
            "vocabulary": tools.vocabulary.identity,
        },
    )
    tools.disk.put(folder / MANIFEST, manifest.to_json())
    return manifest


@dataclass(frozen=True)
class ChunkTools:
    """What building a chunk needs from outside."""

    disk: Disk
    vocabulary: Vocabulary
    progress: Progress
    keys: LogKeys = NO_KEYS


def _arrange(
    sources: Sequence[Source],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.void]]:
    """Order by time, then by arrival; of equal identities only the first stays."""
    everything = np.concatenate([np.empty(0, IDENTITY), *[source.identities for source in sources]])
    times = np.concatenate([np.empty(0, np.int64), *[source.time_ns for source in sources]])
    positions = np.concatenate([np.empty(0, np.int64), *[source.positions for source in sources]])
    sources_of = np.repeat(np.arange(len(sources)), [len(source.positions) for source in sources])
    unique, first = np.unique(everything, return_index=True)
    order = np.sort(first)
    return order[np.argsort(times[order], kind="stable")], sources_of, positions, unique


def _read(source: Source, position: int) -> bytes:
    payload = source.read(position)
    if payload is None:
        raise AppiaError(
            f"an event of the log at position {position} was readable and is no longer: check the disk"
        )
    return payload


class _ChunkWriter:
    """Writes the files of a chunk while its events come by in order."""

    def __init__(self, folder: Path, level: int, tools: ChunkTools) -> None:
        self._folder = folder
        self._disk = tools.disk
        self._level = level
        self._narrator = Narrator(tools.vocabulary)
        self._log = LogWriter(tools.disk, folder / EVENTS, tools.keys)
        self._metadata = MetadataWriter(folder / METADATA, tools.disk)
        self._tables = Tables(
            AddressTable(tools.disk, folder / ADDRESSES, remembered=sys.maxsize),
            TextTable(tools.disk, folder / SYMBOLS, remembered=sys.maxsize),
        )
        self._parts: list[NDArray[np.void]] = []
        self._tags: list[NDArray[np.uint32]] = []
        self._rows = 0
        self.reused_ids = 0

    def append(self, payloads: list[bytes]) -> None:
        table = tabulate([parse_event(payload) for payload in payloads], payloads)
        narratives = self._narrator.narrate(table, extract(payloads))
        positions = [
            self._log.append_block(self._rows + i, payloads[i : i + EVENTS_A_BLOCK], self._level)
            for i in range(0, len(payloads), EVENTS_A_BLOCK)
        ]
        self.reused_ids += len(self._metadata.append(self._rows, table, narratives))
        self._parts.append(column_rows(table, narratives, np.concatenate(positions), self._tables))
        self._tags.append(self._tables.texts.codes(table.tags))
        self._rows += len(payloads)

    def finish(self) -> None:
        self._metadata.finish()
        write_columns(self._disk, self._folder / COLUMNS, np.concatenate([np.empty(0, ROW), *self._parts]))
        tags = np.concatenate([np.empty(0, np.uint32), *self._tags]).astype("<u4")
        self._disk.put(self._folder / TAGS_FILE, raw(tags))

    def close(self) -> None:
        self._log.close()
        self._metadata.close()
        self._tables.addresses.close()
        self._tables.texts.close()
