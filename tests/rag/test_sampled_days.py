"""A day whose benign events were sampled at sealing: what was left out is no hit, can be asked about, and is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.fusion import FusionWeights
from services.common.days.policies import IndexPolicy
from services.rag.browser import describe_days
from services.rag.scope import Bounds
from services.rag.searcher import Searcher

if TYPE_CHECKING:
    from services.rag.catalog import Catalog, Snapshot

DAY = "2026-01-20"
ROWS = 120


@pytest.fixture
def catalog(world: Any, follow: Any) -> Catalog:
    """A day of which two thirds are clearly benign; a tenth of those keeps its vector in `attack`."""
    events = world.make(DAY, ROWS)
    for number, event in enumerate(events):
        if number % 3:
            event.final_classification, event.threat_category = "BENIGN", "NORMAL"
            event.overall_threat_score = event.fast_detector_score = event.ml_detector_score = 0.0
            event.fast_detector_triggered = False
            event.custom_metadata.clear()
    world.write(DAY, events)
    policies = {"attack": IndexPolicy(benign_sample_rate=0.1)}
    replace(world.sealer(), policies=policies).seal(world.state.day(DAY), 1)
    return follow(world)


@pytest.fixture
def searcher(world: Any, small_queries: Any) -> Searcher:
    return Searcher(small_queries(world), FusionWeights())


def _rows(snapshot: Snapshot, *, left_out: bool) -> list[str]:
    """Ids of the events without, or with, a vector in `attack`."""
    (view,) = [segment.view for segment in snapshot.segments]
    rows = [row for row in range(view.rows) if view.indices["attack"].has(row) is not left_out]
    return [fields["event_id"] for fields in view.events.fetch(rows)]


def test_an_event_that_was_left_out_can_be_asked_about(catalog: Catalog, searcher: Searcher) -> None:
    """It is embedded anew: the answer has as many hits as were wanted, none of them one that was left out."""
    with catalog.lease() as snapshot:
        gone = _rows(snapshot, left_out=True)
        assert ROWS / 3 < len(gone) < 2 * ROWS / 3
        for event_id in gone[:5]:
            answer = searcher.similar(snapshot, event_id, "attack", Bounds(8))
            hits = {hit["event_id"] for hit in answer["hits"]}
            assert len(hits) == 8
            assert not hits & set(gone)
            assert answer["event"]["event_id"] == event_id


def test_fused_answers_name_what_was_left_out_by_the_other_indices(
    catalog: Catalog, searcher: Searcher
) -> None:
    """What has no vector in one index is found by those that have it, and has no score in the one."""
    with catalog.lease() as snapshot:
        gone = set(_rows(snapshot, left_out=True))
        answer = searcher.similar(snapshot, min(gone), "fused", Bounds(ROWS))
    assert {hit["event_id"] for hit in answer["hits"]} & gone
    for hit in answer["hits"]:
        assert ("attack" in hit["scores"]) == (hit["event_id"] not in gone)


def test_receipt_and_days_tell_the_share(catalog: Catalog, searcher: Searcher) -> None:
    """Whoever reads an answer sees that the index does not hold every event."""
    with catalog.lease() as snapshot:
        there = _rows(snapshot, left_out=False)
        receipt = searcher.similar(snapshot, there[0], "attack", Bounds(3))["receipt"]
        (day,) = describe_days(snapshot)["days"]
    reason = f"{len(there)} of {ROWS} rows: benign events are sampled"
    assert receipt["missing"] == [{"day": DAY, "index": "attack", "reason": reason}]
    assert day["indices"]["attack"]["rows"] == len(there)
    assert day["indices"]["semantic"]["rows"] == day["rows"] == ROWS
