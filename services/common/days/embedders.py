"""The models that a day's indices are made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.days.open_writer import VectorSpec

if TYPE_CHECKING:
    from services.common.embedding.port import Embedder, RowEmbedder, TextEmbedder, WindowEmbedder


@dataclass(frozen=True)
class Embedders:
    """The models of a day's indices."""

    attack: RowEmbedder
    semantic: TextEmbedder
    temporal: WindowEmbedder
    entity: RowEmbedder  # of the profiles of hosts

    def named(self, index: str) -> Embedder:
        """The embedder of an index."""
        found: Embedder = getattr(self, index)
        return found


def spec_of(index: str, embedder: Embedder) -> VectorSpec:
    """What the vectors of an index are made by."""
    return VectorSpec(index, embedder.model_id, embedder.dim, embedder.metric)
