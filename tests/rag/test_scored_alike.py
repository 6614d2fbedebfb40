"""What `appia models evaluate` scores is what a replica answers."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - a dataclass of it is made here
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.fusion import FusionWeights
from services.common.days.selection import Selection
from services.rag.filters import Filters
from services.rag.scope import Bounds
from services.rag.searcher import Searcher
from services.training.days_data import choose_rows, sealed_days, served_space
from services.training.scoring import K, Searches
from services.training.split import split_by_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.rag.segments import Segment

DAYS = ("2026-01-20", "2026-01-21", "2026-01-22")
INDICES = ("attack", "semantic", "temporal")
WEIGHTS = FusionWeights(attack=2.0, semantic=1.0, temporal=0.5)


@dataclass(frozen=True)
class BaseRows(Filters):
    """Lets the rows of the base pass, by day: no client can ask for that."""

    base: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def select(self, segment: Segment) -> Selection:
        return Selection.of_rows(self.base[segment.view.day], segment.view.rows)


@pytest.fixture
def asked(world: Any, follow: Any, small_queries: Any) -> Any:
    """Ask a replica's searcher, and the scoring, for the neighbours of every query in an index."""
    for day in DAYS:
        world.fill(day, 90, sealed=True)
    catalog = follow(world)
    searcher = Searcher(small_queries(world), WEIGHTS)

    def ask(index: str) -> tuple[list[list[str]], list[list[str]]]:
        with sealed_days(world.state) as readers, catalog.lease() as snapshot:
            chosen = choose_rows(readers, 1000)
            split = split_by_time(chosen.rows.labels, chosen.rows.time_ns)
            numbers = np.concatenate(chosen.by_day)
            base = {
                day: numbers[split.base & (chosen.rows.days == number)] for number, day in enumerate(DAYS)
            }
            ids = np.array(
                [
                    fields["event_id"]
                    for reader, rows in zip(readers, chosen.by_day, strict=True)
                    for fields in reader.view().events.fetch(rows.tolist())
                ]
            )
            queries = np.flatnonzero(split.queries)
            searches = Searches(chosen.rows, split.base)
            spaces = {name: served_space(readers, chosen, name).space for name in INDICES}
            if index == "fused":
                found = searches.fused(spaces, queries, WEIGHTS)
            else:
                found = searches.nearest(spaces[index], queries)
            bounds = Bounds(K, BaseRows(base=base))
            answers = [searcher.similar(snapshot, ids[query], index, bounds)["hits"] for query in queries]
        return ids[found].tolist(), [[hit["event_id"] for hit in hits] for hits in answers]

    return ask


@pytest.mark.parametrize("index", [*INDICES, "fused"])
def test_the_scored_neighbours_are_those_a_replica_answers(asked: Any, index: str) -> None:
    """For every query of three days the same five events in the same order, in each index and fused."""
    scored, answered = asked(index)
    assert len(scored) > 50
    assert scored == answered
