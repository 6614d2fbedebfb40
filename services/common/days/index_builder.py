"""Builds one index of a day from its chunk: embeds, keeps equal vectors once, writes the files and their manifest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.embed_chunk import EMBED
from services.common.days.embedders import spec_of
from services.common.days.entity_builder import build_entity_index
from services.common.days.manifest import MANIFEST, Manifest, digest_file, digest_folder
from services.common.days.names import ENTITY
from services.common.days.sealed_reader import ROWS
from services.common.days.vector_files import write_vectors

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.days.chunk import Chunk
    from services.common.days.chunk_builder import Progress
    from services.common.days.distinct import Embedded
    from services.common.days.embedders import Embedders


def build_index(folder: Path, chunk: Chunk, index: str, embedders: Embedders, progress: Progress) -> Manifest:
    """Write one version of `index` over `chunk` into the empty `folder`. Blocks; an error leaves the chunk as it is."""
    if index == ENTITY:
        return build_entity_index(folder, chunk, embedders.entity, progress)
    embedded = EMBED[index](chunk, embedders, progress)
    spec = spec_of(index, embedders.named(index))
    facts = write_vectors(folder, embedded.vectors, spec)
    _write_rows(folder / ROWS, embedded)
    manifest = Manifest(
        kind="index",
        day=chunk.manifest.day,
        generation=chunk.manifest.generation,
        rows=chunk.rows,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        artifacts=digest_folder(folder),
        facts={
            "index": index,
            "model": spec.model_id,
            "dim": spec.dim,
            "metric": spec.metric,
            "items": len(embedded.vectors),
            "chunk": digest_file(chunk.folder / MANIFEST).sha256,
            **facts,
        },
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return manifest


def _write_rows(path: Path, embedded: Embedded) -> None:
    """The vector of each row, then the rows ordered by vector, then where each vector's rows begin; all uint32."""
    order = np.argsort(embedded.codes, kind="stable").astype("<u4")
    starts = np.searchsorted(embedded.codes[order], np.arange(len(embedded.vectors) + 1)).astype("<u4")
    np.concatenate((embedded.codes.astype("<u4"), order, starts)).tofile(path)
