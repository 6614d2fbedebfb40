"""Puts a question into the space of every model that the days in a scope were embedded with.

Vectors of different models are never compared. A day is therefore asked with a vector of its own model: that which the
event has, where it has one of that model, and else one that is made anew from the event itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.common.days.traffic import column_traffic
from services.common.errors import AppiaError
from services.common.events.windows import STEP_NS, STEPS, Cells, MemorySpace
from services.rag.scope import HOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.common.days.view import SegmentView
    from services.common.embedding.port import RowEmbedder, TextEmbedder, WindowEmbedder
    from services.common.events.windows import Traffic
    from services.rag.catalog import Snapshot
    from services.rag.events import Place
    from services.rag.scope import Scope

Vectors = Mapping[str, NDArray[np.float32]]
"""One question by model: model id -> float32 (dim of that model,)."""

_TRAFFIC = ("src_ip", "dst_ip", "time_ns", "bytes", "packets", "dst_port", "overall", "fast", "ml")


class QueryModels(Protocol):
    """Embedders by model id. Safe for several threads; blocks for loading.

    Each method raises `AppiaError` where there is no such model, or it cannot be used.
    """

    def rows(self, model_id: str) -> RowEmbedder:
        """That of feature rows."""
        ...

    def texts(self, model_id: str) -> TextEmbedder:
        """That of texts."""
        ...

    def windows(self, model_id: str) -> WindowEmbedder:
        """That of windows."""
        ...


@dataclass(frozen=True)
class Queries:
    """Makes the vectors of questions. Safe for several threads."""

    models: QueryModels

    def of_event(self, scope: Scope, place: Place, index: str) -> Vectors:
        """The event at `place` in each model of `index` that the scope has; those that fail are noted as missing.

        Blocks for the disk and the models where the event has to be embedded anew.
        """
        own = place.view.indices.get(index)
        has = own is not None and own.has(place.row)
        found: dict[str, NDArray[np.float32]] = {}
        for model_id in scope.models_of(index):
            if own is not None and has and own.spec.model_id == model_id:
                found[model_id] = own.vector(place.row)
                if index == HOURS:
                    scope.doubt_hours(place.view)
                continue
            try:
                found[model_id] = self._embed[index](scope.snapshot, place, model_id)
            except AppiaError as error:
                scope.miss_model(index, model_id, str(error))
        return found

    def of_text(self, scope: Scope, index: str, text: str) -> Vectors:
        """A text in each model of `index` that the scope has; those that fail are noted as missing.

        Raises:
            AppiaError: there are such models, and none can be used.
        """
        found: dict[str, NDArray[np.float32]] = {}
        fault: AppiaError | None = None
        for model_id in scope.models_of(index):
            try:
                found[model_id] = _only(self.models.texts(model_id).embed([text]))
            except AppiaError as error:
                fault = error
                scope.miss_model(index, model_id, str(error))
        if fault is not None and not found:
            raise fault
        return found

    @property
    def _embed(self) -> Mapping[str, Callable[[Snapshot, Place, str], NDArray[np.float32]]]:
        return {"attack": self._attack, "semantic": self._semantic, "temporal": self._temporal}

    def _attack(self, _snapshot: Snapshot, place: Place, model_id: str) -> NDArray[np.float32]:
        # Its tables take 15 MB, which a replica that embeds nothing anew does not pay.
        from services.common.events.features import extract  # noqa: PLC0415 - see above

        payload = place.view.events.payload(int(place.view.columns["position"][place.row]))
        return _only(self.models.rows(model_id).embed(extract([payload]).values))

    def _semantic(self, _snapshot: Snapshot, place: Place, model_id: str) -> NDArray[np.float32]:
        narrative = place.view.texts[int(place.view.columns["narrative"][place.row])]
        return _only(self.models.texts(model_id).embed([narrative]))

    def _temporal(self, snapshot: Snapshot, place: Place, model_id: str) -> NDArray[np.float32]:
        views = [segment.view for segment in snapshot.segments if segment.view.day == place.view.day]
        return _only(self.models.windows(model_id).embed(window_of(views, place)[None]))


def window_of(views: Sequence[SegmentView], place: Place) -> NDArray[np.float32]:
    """The last hour of the source host of the event at `place`, float32 (64, 6); `views` are those of its day."""
    host = place.view.addresses[int(place.view.columns["src_ip"][place.row])]
    newest = place.time_ns // STEP_NS
    cells = Cells(MemorySpace())
    for view in views:
        cells.update(_traffic_of(view, host, newest))
    # A cell is one step of the host, and none is of a later step, so the last is that of the event.
    return _only(cells.windows(cells.in_order()[-1:]))


def _traffic_of(view: SegmentView, host: NDArray[np.uint8], newest: int) -> Traffic:
    """What `host` (16 bytes) sent in the 64 steps up to `newest`."""
    columns: Any = view.columns
    codes = np.flatnonzero((view.addresses == host).all(axis=1))
    rows = np.flatnonzero(np.isin(columns["src_ip"], codes))
    steps = columns["time_ns"][rows] // STEP_NS
    rows = rows[(steps <= newest) & (steps > newest - STEPS)]
    chosen = {name: columns[name][rows] for name in _TRAFFIC}
    return column_traffic(chosen, view.addresses)


def _only(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The one vector of (1, ...)."""
    (vector,) = vectors
    return np.asarray(vector, np.float32)
