"""Builds the `entity` index of a day from its chunk."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.entity_index import embed_hosts, write_hosts
from services.common.days.manifest import MANIFEST, Manifest, digest_file, digest_folder
from services.common.days.names import ENTITY
from services.common.days.vector_files import write_vectors

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.days.chunk import Chunk
    from services.common.days.chunk_builder import Progress
    from services.common.embedding.port import RowEmbedder


def build_entity_index(folder: Path, chunk: Chunk, embedder: RowEmbedder, progress: Progress) -> Manifest:
    """Write one version of the index over `chunk` into the empty `folder`. Blocks as `embed_hosts`."""
    found = embed_hosts([chunk], embedder)
    spec, hosts = found.vectors.spec, found.hosts
    facts = write_vectors(folder, np.asarray(found.vectors.vectors), spec)
    write_hosts(folder, hosts)
    progress(ENTITY, chunk.rows, chunk.rows)
    manifest = Manifest(
        kind="index",
        day=chunk.manifest.day,
        generation=chunk.manifest.generation,
        rows=len(hosts),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        artifacts=digest_folder(folder),
        facts={
            "index": ENTITY,
            "model": spec.model_id,
            "dim": spec.dim,
            "metric": spec.metric,
            "items": len(hosts),
            "left_out": hosts.left_out,
            "chunk": digest_file(chunk.folder / MANIFEST).sha256,
            **facts,
        },
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return manifest
