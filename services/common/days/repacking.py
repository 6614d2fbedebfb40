"""Keeps the vectors of an index of a sealed day in a smaller form: another version of it, of the same vectors.

Nothing is embedded: the vectors are read from the version that is served, so the model stays the one the day has. Only
whole vectors are made smaller; what was made smaller once is left as it is, because losses would add up.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from services.common.chain.link import WAITS
from services.common.chain.state import CHUNK, part_name
from services.common.chain.store import NoLinks
from services.common.days.chunk import open_chunk
from services.common.days.distinct import Embedded
from services.common.days.linking import Versioned, link_index, mend, require_signed_as_is
from services.common.days.manifest import (
    INDEX_FORMAT,
    MANIFEST,
    add_artifact,
    digest_folder,
    read_manifest,
)
from services.common.days.names import EVENT_INDICES, numbered
from services.common.days.overlap import OVERLAP, read_overlap
from services.common.days.reindex import COMPARING, compare_versions
from services.common.days.sealed_reader import open_index
from services.common.days.stored import bytes_of, is_replaced, is_whole
from services.common.days.vector_files import write_vectors
from services.common.days.versions import served_generation, versions_of
from services.common.errors import AppiaError, UsageError
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.chain.store import Links
    from services.common.days.chunk_builder import Progress
    from services.common.days.manifest import Manifest
    from services.common.days.names import DayNames, GenerationNames
    from services.common.days.policies import Compression
    from services.common.durable import Disk
    from services.common.rest.log_keys import LogKeys

PACKING = "smaller"
"""The step, as progress names it, in which forms are tried."""


@dataclass(frozen=True)
class RepackReport:
    """The version that waits to be served, or is served already.

    Attributes:
        form: how its vectors are kept, such as "sq8"; "fp32" where no smaller form finds the same neighbours.
        recall: recall@10 of the form against the whole vectors.
        overlap: the mean share of the ten nearest that both versions name; None where nothing was made now.
        bytes, bytes_before: of the files of the version, and of the one with whole vectors.
    """

    day: str
    index: str
    generation: int
    version: int
    form: str
    recall: float
    overlap: float | None
    bytes: int
    bytes_before: int


@dataclass(frozen=True)
class Repacker:
    """Makes smaller versions of indices of events. One at a time for each day, and not while the day is sealed."""

    disk: Disk
    progress: Progress
    keys: LogKeys = NO_KEYS
    links: Links = field(default_factory=NoLinks)

    def build(self, names: DayNames, index: str, form: Compression) -> RepackReport:
        """Make the version of `index` in the form that `form` gives; blocks until it is published and waits.

        What was made smaller already is left as it is.

        Raises:
            UsageError: the index is none of events.
            AppiaError: the day is not sealed or lacks the index, another version waits, or files are damaged.
        """
        if index not in EVENT_INDICES:
            raise UsageError(f"Only the indices {', '.join(EVENT_INDICES)} have smaller forms.")
        mend(self.links, names, self.disk)
        generation = served_generation(names)
        found = versions_of(generation, index)
        if found.served is None:
            raise AppiaError(f"Day {names.day} has no index {index} yet: the ingester builds it by itself.")
        served = read_manifest(generation.index_version(index, found.served))
        if not is_whole(served):
            return _report(generation, index, found.served, bytes_of(served))
        if found.waiting is not None:
            waiting = read_manifest(generation.index_version(index, found.waiting))
            if not is_replaced(generation, index, found.served, waiting):
                raise AppiaError(
                    f"Another version of {index} of {names.day} waits to be served: see `appia reindex --activate`."
                )
            return _report(generation, index, found.waiting, bytes_of(served))
        version = self._publish(names, generation, index, (found.served, form))
        return _report(generation, index, version, bytes_of(served))

    def _publish(
        self, names: DayNames, generation: GenerationNames, index: str, how: tuple[int, Compression]
    ) -> int:
        served, form = how
        for part in (CHUNK, part_name(index, served)):
            require_signed_as_is(self.links, names.day, generation, part)
        self.disk.clear_going(generation.index(index))
        staged = generation.index_work(index) / "version"
        if staged.exists():
            self.disk.remove(staged)
        self.disk.make_folder(staged)
        before = generation.index_version(index, served)
        self.progress(PACKING, 0, 1)
        self._write(staged, before, form)
        self.progress(PACKING, 1, 1)
        self._compare(before, staged, generation, index)
        version = max(numbered(generation.index(index))) + 1
        self.disk.publish(staged, generation.index_version(index, version))
        stay = {number for number in numbered(generation.index(index)) if number <= served}
        link_index(self.links, names, WAITS, Versioned(index, served, stay, made=version))
        self.disk.remove(generation.index_work(index))
        return version

    def _write(self, staged: Path, before: Path, form: Compression) -> None:
        """Write the vectors of one version into the folder of another. Blocks as `write_vectors`."""
        manifest, index = read_manifest(before), open_index(before)
        codes = np.arange(index.rows, dtype=np.uint32) if index.codes is None else np.array(index.codes)
        vectors = np.asarray(index.vectors, np.float32)
        facts = write_vectors(self.disk, staged, Embedded(vectors, codes), index.spec, form)
        packed = replace(
            manifest,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            artifacts=digest_folder(staged),
            format=INDEX_FORMAT,
            min_reader=INDEX_FORMAT,
            facts={**_lasting(manifest), **facts},
        )
        self.disk.put(staged / MANIFEST, packed.to_json())

    def _compare(self, before: Path, staged: Path, generation: GenerationNames, index: str) -> None:
        self.progress(COMPARING, 0, 1)
        chunk = open_chunk(generation.chunk, self.keys)
        with closing(chunk.log):
            found = compare_versions(before, staged, chunk, index)
        self.disk.put(staged / OVERLAP, found.to_json())
        add_artifact(staged, OVERLAP, self.disk)
        self.progress(COMPARING, 1, 1)


def _lasting(manifest: Manifest) -> dict[str, object]:
    """The facts of an index that its form does not change."""
    names = ("index", "model", "dim", "metric", "benign_sample_rate", "chunk")
    return {name: manifest.facts[name] for name in names if name in manifest.facts}


def _report(generation: GenerationNames, index: str, version: int, whole: int) -> RepackReport:
    folder = generation.index_version(index, version)
    manifest = read_manifest(folder)
    overlap = read_overlap(folder)
    return RepackReport(
        day=manifest.day,
        index=index,
        generation=generation.number,
        version=version,
        form=str(manifest.facts["kind"]),
        recall=float(manifest.facts.get("recall_at_10", 1.0)),
        overlap=None if overlap is None else float(overlap["mean"]),
        bytes=bytes_of(manifest),
        bytes_before=whole,
    )
