"""Builds one index of a day from its chunk: embeds, keeps equal vectors once, writes the files and their manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.common.days.embed_chunk import EMBED
from services.common.days.embedders import spec_of
from services.common.days.entity_builder import build_entity_index
from services.common.days.manifest import INDEX_FORMAT, MANIFEST, Manifest, digest_file, digest_folder
from services.common.days.names import ENTITY
from services.common.days.policies import IndexPolicy
from services.common.days.sampling import sample_benign
from services.common.days.vector_files import write_vectors
from services.common.durable import REAL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from services.common.days.chunk import Chunk
    from services.common.days.chunk_builder import Progress
    from services.common.days.distinct import Embedded
    from services.common.days.embedders import Embedders
    from services.common.days.open_writer import VectorSpec
    from services.common.durable import Disk


@dataclass(frozen=True)
class IndexTools:
    """What indices are built with."""

    embedders: Embedders
    progress: Progress
    policies: Mapping[str, IndexPolicy] = field(default_factory=dict)  # by index; others are kept whole
    disk: Disk = REAL

    def policy(self, index: str) -> IndexPolicy:
        """How an index is made smaller."""
        return self.policies.get(index, IndexPolicy())


def build_index(folder: Path, chunk: Chunk, index: str, tools: IndexTools) -> Manifest:
    """Write one version of `index` over `chunk` into the empty `folder`. Blocks; an error leaves the chunk as it is."""
    if index == ENTITY:
        return build_entity_index(folder, chunk, tools)
    embedded = EMBED[index](chunk, tools.embedders, tools.progress)
    return write_index(folder, chunk, spec_of(index, tools.embedders.named(index)), embedded, tools)


def write_index(
    folder: Path, chunk: Chunk, spec: VectorSpec, embedded: Embedded, tools: IndexTools
) -> Manifest:
    """Write one version of an index over `chunk` into the empty `folder`, from vectors that are there already."""
    policy, disk = tools.policy(spec.index), tools.disk
    kept = sample_benign(embedded, chunk, policy.benign_sample_rate)
    facts = write_vectors(disk, folder, kept, spec, policy.compression)
    manifest = Manifest(
        kind="index",
        day=chunk.manifest.day,
        generation=chunk.manifest.generation,
        rows=chunk.rows,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        artifacts=digest_folder(folder),
        format=INDEX_FORMAT,
        min_reader=INDEX_FORMAT,
        facts={
            "index": spec.index,
            "model": spec.model_id,
            "dim": spec.dim,
            "metric": spec.metric,
            "benign_sample_rate": policy.benign_sample_rate,
            "chunk": digest_file(chunk.folder / MANIFEST).sha256,
            **facts,
        },
    )
    disk.put(folder / MANIFEST, manifest.to_json())
    return manifest
