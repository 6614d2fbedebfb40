"""The hosts of days that are open: made when somebody asks, from the columns of all segments of the day.

What was made is kept until rows come. Where they come all the time, it is made again no more often than that a tenth of
one core goes into it; the answer then says how many events are in it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from services.common.days.entity_index import embed_hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.common.days.entity_index import EntityIndex
    from services.common.days.view import SegmentView
    from services.common.embedding.port import RowEmbedder

KEPT_DAYS = 2
"""Days of which the hosts are kept in memory: at most about 36 MB each, for 32,768 hosts."""
_SHARE = 0.1


class HostModels(Protocol):
    """Models of hosts. Safe for several threads; blocks for loading.

    Each method raises `AppiaError` where there is no such model, or it cannot be used.
    """

    def profiles(self, model_id: str) -> RowEmbedder:
        """The one with this id."""
        ...

    def active_profiles(self) -> RowEmbedder:
        """The one that new days are embedded with."""
        ...


@dataclass(frozen=True)
class MadeHosts:
    """Hosts of a day, and how many of its events they are from."""

    index: EntityIndex
    events: int


@dataclass(frozen=True)
class _Kept:
    made: MadeHosts
    model_id: str
    content: tuple[str, ...]  # identity of each segment
    rows: Mapping[str, int]  # of each segment by its name
    fresh_until: float


class HostsOnDemand:
    """Makes and keeps the hosts of open days. Safe for several threads: those who ask meanwhile wait for one making."""

    def __init__(self, models: HostModels, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Make nothing yet."""
        self._models = models
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, bool], _Kept] = OrderedDict()  # by day, and whether exact

    def of(self, views: Sequence[SegmentView], *, exact: bool = False) -> MadeHosts:
        """The hosts in all segments of one day. Blocks about a second for a million events.

        Those made of a little less may be given, unless `exact` is set.

        Raises:
            AppiaError: there is no model for it.
        """
        embedder = self._models.active_profiles()
        content, rows = tuple(view.identity for view in views), {view.name: view.rows for view in views}
        with self._lock:
            kept = self._kept.get((views[0].day, exact))
            same = kept is not None and kept.model_id == embedder.model_id
            if kept and same and (kept.content == content or (not exact and self._is_fresh(kept, rows))):
                return kept.made
            started = self._monotonic()
            made = MadeHosts(embed_hosts(views, embedder), sum(view.rows for view in views))
            ended = self._monotonic()
            fresh_until = ended + (ended - started) / _SHARE
            self._keep((views[0].day, exact), _Kept(made, embedder.model_id, content, rows, fresh_until))
            return made

    def _is_fresh(self, kept: _Kept, rows: Mapping[str, int]) -> bool:
        grown = all(rows.get(name, -1) >= count for name, count in kept.rows.items())
        return grown and self._monotonic() < kept.fresh_until

    def _keep(self, key: tuple[str, bool], kept: _Kept) -> None:
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_DAYS:
            self._kept.popitem(last=False)
