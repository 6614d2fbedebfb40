"""A text finds the events whose narratives it describes, on days of every model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.common.errors import AppiaError
from services.rag.models import StoredModels
from services.rag.queries import Queries
from services.rag.scope import Bounds
from services.rag.text_search import TextSearch

if TYPE_CHECKING:
    from pathlib import Path

    from services.rag.catalog import Catalog

OLD, NEW, OPEN = "2026-01-20", "2026-01-21", "2026-01-22"


@pytest.fixture
def catalog(world: Any, follow: Any) -> Catalog:
    """Two sealed days and an open one."""
    world.fill(OLD, 80, sealed=True)
    world.fill(NEW, 60, sealed=True)
    world.fill(OPEN, 40, sealed=False)
    return follow(world)


@pytest.fixture
def texts(world: Any, small_queries: Any) -> TextSearch:
    return TextSearch(small_queries(world))


def test_search_finds_narratives_newest_first(catalog: Catalog, texts: TextSearch) -> None:
    """The words of a narrative find the events that have it, the newest first."""
    with catalog.lease() as snapshot:
        text = snapshot.segments[0].view.events.fetch([0])[0]["narrative"]
        hits = texts.search(snapshot, text, Bounds(10))["hits"]
        same = [hit for hit in hits if hit["narrative"] == text]
        assert same
        assert same == hits[: len(same)]
        times = [hit["time"] for hit in same]
        assert times == sorted(times, reverse=True)


def test_questions_in_words_reach_days_of_every_model(
    world: Any, follow: Any, small_queries: Any, mixed: Any
) -> None:
    """A text is embedded by each semantic model; where one is missing the others answer and the receipt says so."""
    with follow(world).lease() as snapshot:
        text = snapshot.segments[0].view.events.fetch([3])[0]["narrative"]
        both = TextSearch(small_queries(world, *mixed.newer)).search(snapshot, text, Bounds(200))
        assert {hit["day"] for hit in both["hits"] if hit["score"] > 0.9999} == {OLD, NEW}
        assert len(both["receipt"]["models"]["semantic"]) == 2
        one = TextSearch(small_queries(world)).search(snapshot, text, Bounds(200))
        assert {hit["day"] for hit in one["hits"]} == {OLD}
        (missing,) = one["receipt"]["missing"]
        assert (missing["day"], missing["index"]) == (NEW, "semantic")
        assert "semantic@000000000002, which cannot be used" in missing["reason"]


def test_without_any_model_it_is_said(catalog: Catalog, tmp_path: Path) -> None:
    """A store without the model is refused by a sentence."""
    texts = TextSearch(Queries(StoredModels(tmp_path)))
    with (
        catalog.lease() as snapshot,
        pytest.raises(AppiaError, match="The model semantic@000000000001 is not in"),
    ):
        texts.search(snapshot, "port scan", Bounds(5))
