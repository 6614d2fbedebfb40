"""The models that questions are embedded with: any of the store, by id, loaded when a question first needs it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from services.common.days.names import ENTITY
from services.common.embedding.store import ModelStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.embedding.port import RowEmbedder, TextEmbedder, WindowEmbedder
    from services.common.embedding.store import LoadedModel

MOST_LOADED = 8
"""Models kept in memory; of more, those go that no question needed for the longest time."""


class StoredModels:
    """Embedders over the models of a store. A day names the model of each of its indices; any of them may be asked for.

    Safe for several threads. Loading blocks for reading and checking the model's files, once a model.
    """

    def __init__(self, folder: Path) -> None:
        """Use the store in `folder`; nothing is read yet."""
        self._store = ModelStore(folder)
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, Any] = OrderedDict()

    def rows(self, model_id: str) -> RowEmbedder:
        """The model that embeds feature rows under this id.

        Raises:
            AppiaError: it is not in the store, damaged, or made for another input than this program's.
        """
        embedder: RowEmbedder = self._embedder(model_id, _load_rows)
        return embedder

    def texts(self, model_id: str) -> TextEmbedder:
        """The model that embeds texts under this id. Raises as `rows`."""
        embedder: TextEmbedder = self._embedder(model_id, _load_texts)
        return embedder

    def windows(self, model_id: str) -> WindowEmbedder:
        """The model that embeds windows under this id. Raises as `rows`."""
        embedder: WindowEmbedder = self._embedder(model_id, _load_windows)
        return embedder

    def profiles(self, model_id: str) -> RowEmbedder:
        """The model that embeds profiles of hosts under this id. Raises as `rows`."""
        embedder: RowEmbedder = self._embedder(model_id, _load_profiles)
        return embedder

    def active_profiles(self) -> RowEmbedder:
        """The model that the hosts of new days are embedded with. Raises as `rows`."""
        return self.profiles(f"{ENTITY}@{self._store.active(ENTITY)[:12]}")

    def _embedder(self, model_id: str, load: Callable[[LoadedModel], Any]) -> Any:
        with self._lock:
            if model_id not in self._loaded:
                name, sha256 = self._store.find(model_id)
                self._loaded[model_id] = load(self._store.load(name, sha256))
            self._loaded.move_to_end(model_id)
            while len(self._loaded) > MOST_LOADED:
                self._loaded.popitem(last=False)
            return self._loaded[model_id]


# Who never asks for what has to be embedded pays neither the time nor the memory of the runtime: hence the imports.


def _load_rows(model: LoadedModel) -> RowEmbedder:
    from services.common.embedding.onnx import OnnxArrays, OnnxSettings  # noqa: PLC0415 - see above
    from services.common.events.features import SCHEMA_HASH  # noqa: PLC0415 - see above

    return OnnxArrays(model, "features", SCHEMA_HASH, OnnxSettings())


def _load_profiles(model: LoadedModel) -> RowEmbedder:
    from services.common.embedding.onnx import OnnxArrays, OnnxSettings  # noqa: PLC0415 - see above
    from services.common.events.profiles import profiles_schema_hash  # noqa: PLC0415 - see above

    return OnnxArrays(model, "profiles", profiles_schema_hash(), OnnxSettings())


def _load_texts(model: LoadedModel) -> TextEmbedder:
    from services.common.embedding.onnx import OnnxSettings, OnnxTexts  # noqa: PLC0415 - see above

    return OnnxTexts(model, OnnxSettings())


def _load_windows(model: LoadedModel) -> WindowEmbedder:
    from services.common.embedding.manifest import windows_schema_hash  # noqa: PLC0415 - see above
    from services.common.embedding.onnx import OnnxArrays, OnnxSettings  # noqa: PLC0415 - see above
    from services.common.events.windows import CHANNELS, STEP_NS, STEPS  # noqa: PLC0415 - see above

    return OnnxArrays(model, "windows", windows_schema_hash(CHANNELS, STEPS, STEP_NS), OnnxSettings())
