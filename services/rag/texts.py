"""The model that puts the words of a question among the narratives; loaded when the first question comes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from services.common.embedding.store import ModelStore
from services.rag.nearest import QueryVector

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.embedding.port import TextEmbedder

MODEL = "semantic"


class StoredTexts:
    """Embeds with the active model of a model store, and follows when another one becomes active.

    Safe for several threads.
    """

    def __init__(self, models: Path) -> None:
        """Use the store below `models`; nothing is read yet."""
        self._store = ModelStore(models)
        self._lock = threading.Lock()
        self._loaded: tuple[str, TextEmbedder] | None = None

    def embed(self, text: str) -> QueryVector:
        """The vector of `text`. Blocks for the model, the first time also for loading it.

        Raises:
            AppiaError: there is no model, or it cannot be used.
        """
        embedder = self._embedder()
        return QueryVector(embedder.embed([text])[0], embedder.model_id)

    def _embedder(self) -> TextEmbedder:
        sha256 = self._store.active(MODEL)
        with self._lock:
            if self._loaded is None or self._loaded[0] != sha256:
                # Who never searches by words pays neither the time nor the memory of the runtime.
                from services.common.embedding.onnx import OnnxSettings, OnnxTexts  # noqa: PLC0415

                self._loaded = sha256, OnnxTexts(self._store.load(MODEL, sha256), OnnxSettings())
            return self._loaded[1]
