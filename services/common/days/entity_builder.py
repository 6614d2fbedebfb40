"""Builds the `entity` index of a day from its chunk."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.distinct import Embedded
from services.common.days.entity_index import embed_hosts, write_hosts
from services.common.days.manifest import INDEX_FORMAT, MANIFEST, Manifest, digest_file, digest_folder
from services.common.days.names import ENTITY
from services.common.days.vector_files import write_vectors
from services.common.events.profiles import profiles_schema_hash

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.days.chunk import Chunk
    from services.common.days.index_builder import IndexTools


def build_entity_index(folder: Path, chunk: Chunk, tools: IndexTools) -> Manifest:
    """Write one version of the index over `chunk` into the empty `folder`. Blocks as `embed_hosts`."""
    found = embed_hosts([chunk], tools.embedders.entity)
    spec, hosts = found.vectors.spec, found.hosts
    embedded = Embedded(np.asarray(found.vectors.vectors), np.arange(len(hosts), dtype=np.uint32))
    facts = write_vectors(tools.disk, folder, embedded, spec, tools.policy(ENTITY).compression)
    write_hosts(tools.disk, folder, hosts)
    tools.progress(ENTITY, chunk.rows, chunk.rows)
    manifest = Manifest(
        kind="index",
        day=chunk.manifest.day,
        generation=chunk.manifest.generation,
        rows=len(hosts),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        artifacts=digest_folder(folder),
        format=INDEX_FORMAT,
        min_reader=INDEX_FORMAT,
        facts={
            "index": ENTITY,
            "model": spec.model_id,
            "dim": spec.dim,
            "metric": spec.metric,
            "left_out": hosts.left_out,
            "profiles": profiles_schema_hash(),
            "chunk": digest_file(chunk.folder / MANIFEST).sha256,
            **facts,
        },
    )
    tools.disk.put(folder / MANIFEST, manifest.to_json())
    return manifest
