"""Makes another version of an index of a sealed day with another model, while the one before serves.

The vectors are made from the chunk and kept on disk block by block (`file_blocks.py`), so whoever is killed goes on
where it was. The version is published beside the served one, with a report of how far the two answer alike, and waits
there until somebody has it served (`versions.py`).
"""

from __future__ import annotations

import ipaddress
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from services.common.chain.link import WAITS
from services.common.chain.state import CHUNK
from services.common.chain.store import NoLinks
from services.common.days.chunk import METADATA, open_chunk
from services.common.days.embed_chunk import embed_units, in_rows
from services.common.days.embedders import spec_of
from services.common.days.file_blocks import FileBlocks
from services.common.days.index_builder import build_index, write_index
from services.common.days.linking import Versioned, link_index, mend, require_signed_as_is
from services.common.days.manifest import MANIFEST, add_artifact, digest_file
from services.common.days.metadata import MetadataReader
from services.common.days.names import ENTITY, numbered
from services.common.days.overlap import OVERLAP, RowFacts, compare
from services.common.days.sealed_reader import open_entity_index, open_index
from services.common.days.units import UNITS
from services.common.days.versions import drop_waiting, model_of, served_generation, versions_of
from services.common.errors import AppiaError
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.chain.store import Links
    from services.common.days.chunk import Chunk
    from services.common.days.entity_index import EntityIndex
    from services.common.days.index_builder import IndexTools
    from services.common.days.names import DayNames, GenerationNames
    from services.common.days.overlap import Overlap
    from services.common.durable import Disk
    from services.common.rest.log_keys import LogKeys

COMPARING = "overlap"
"""The step, as progress names it, in which both versions are asked."""
_VERSION = "version"


@dataclass(frozen=True)
class ReindexReport:
    """What was made: a version that waits to be served."""

    day: str
    index: str
    generation: int
    version: int
    model: str
    units: int  # what was embedded: events, sentences, hours of hosts, or hosts
    kept: int  # units that were there already from a run that was broken off


@dataclass(frozen=True)
class Reindexer:
    """Makes versions of indices. One at a time for each day, and not while the day is sealed."""

    disk: Disk
    tools: IndexTools
    keys: LogKeys = NO_KEYS
    links: Links = field(default_factory=NoLinks)

    def build(self, names: DayNames, index: str) -> ReindexReport:
        """Make the version of `index` that its model gives; blocks until it is published and waits.

        One of this model that waits already is left as it is: 0 units then.

        Raises:
            AppiaError: the day is not sealed, lacks the index, or its files are damaged; what serves is untouched.
        """
        mend(self.links, names, self.disk)
        generation = served_generation(names)
        served = versions_of(generation, index).served
        if served is None:
            raise AppiaError(f"Day {names.day} has no index {index} yet: the ingester builds it by itself.")
        model = self.tools.embedders.named(index).model_id
        waiting = versions_of(generation, index).waiting
        if waiting is not None and model_of(generation, index, waiting) == model:
            return ReindexReport(names.day, index, generation.number, waiting, model, units=0, kept=0)
        require_signed_as_is(self.links, names.day, generation, CHUNK)
        self.disk.clear_going(generation.index(index))
        version = max(numbered(generation.index(index))) + 1
        chunk = open_chunk(generation.chunk, self.keys)
        with closing(chunk.log):
            staged = generation.index_work(index) / _VERSION
            units, kept = self._write(staged, generation, chunk, index)
        self.tools.progress(COMPARING, 0, 1)
        found = compare_versions(generation.index_version(index, served), staged, chunk, index)
        self.disk.put(staged / OVERLAP, found.to_json())
        add_artifact(staged, OVERLAP, self.disk)
        self.tools.progress(COMPARING, 1, 1)
        self.disk.publish(staged, generation.index_version(index, version))
        stay = {number for number in numbered(generation.index(index)) if number <= served}
        link_index(self.links, names, WAITS, Versioned(index, served, stay, made=version))
        drop_waiting(generation, index, version, self.disk)
        self.disk.remove(generation.index_work(index))
        return ReindexReport(names.day, index, generation.number, version, model, units, kept)

    def _write(self, staged: Path, generation: GenerationNames, chunk: Chunk, index: str) -> tuple[int, int]:
        """Embed and write the version into `staged`; gives how many units there are and how many were there."""
        if index == ENTITY:
            self._clear(staged)
            return build_index(staged, chunk, index, self.tools).rows, 0
        embedder = self.tools.embedders.named(index)
        units = UNITS[index](chunk, self.tools.embedders)
        plan: dict[str, str | int] = {
            "index": index,
            "model": embedder.model_id,
            "units": len(units),
            "chunk": digest_file(generation.chunk / MANIFEST).sha256,
        }
        with closing(FileBlocks(self.disk, generation.index_work(index), plan, embedder.dim)) as blocks:
            kept = blocks.done
            embedded = embed_units(units, blocks, in_rows(index, chunk.rows, self.tools.progress))
        self._clear(staged)
        write_index(staged, chunk, spec_of(index, embedder), embedded, self.tools)
        return len(units), kept

    def _clear(self, staged: Path) -> None:
        if staged.exists():
            self.disk.remove(staged)
        self.disk.make_folder(staged)


def compare_versions(before: Path, after: Path, chunk: Chunk, index: str) -> Overlap:
    """How far two versions of an index of one chunk answer alike. Blocks while both are asked some hundred times."""
    if index == ENTITY:
        # The served version may have profiles of another release, which cannot be read; its rows are the same hosts.
        hosts = open_entity_index(after)
        return compare(open_index(before), hosts.vectors, _facts_of_hosts(hosts))
    with closing(MetadataReader(chunk.folder / METADATA, immutable=True)) as events:
        return compare(open_index(before), open_index(after), _facts_of_events(chunk, events))


def _facts_of_events(chunk: Chunk, events: MetadataReader) -> RowFacts:
    """Events are known by their id; their class is the label they came with, or else the verdict on them."""
    columns: Any = chunk.columns
    labelled = any(chunk.texts[code] for code in np.unique(columns["label"]).tolist())

    def names(rows: Sequence[int]) -> list[str]:
        return [str(fields["event_id"]) for fields in events.fetch(rows)]

    times = cast("NDArray[np.int64]", columns["time_ns"])
    return RowFacts(times, np.asarray(columns["label" if labelled else "class"]), chunk.texts, names)


def _facts_of_hosts(index: EntityIndex) -> RowFacts:
    """Hosts are known by their address, have no class, and none is nearer in time than another."""
    nothing = np.zeros(len(index.hosts), np.int64)
    addresses = index.hosts.facts["address"]

    def names(rows: Sequence[int]) -> list[str]:
        found = [ipaddress.IPv6Address(addresses[row].tobytes()) for row in rows]
        return [str(address.ipv4_mapped or address) for address in found]

    return RowFacts(nothing, nothing, ("",), names)
