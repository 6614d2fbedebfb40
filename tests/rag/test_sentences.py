"""The sentences of a snapshot are those of its events, each once, with the vector that its day gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.rag import sentences as room
from services.rag.scope import Bounds, Scope
from services.rag.sentence_events import newest_events, present
from services.rag.sentences import SentenceBook

if TYPE_CHECKING:
    from services.rag.catalog import Catalog, Snapshot

OLD, NEW, OPEN = "2026-01-20", "2026-01-21", "2026-01-22"


@pytest.fixture
def catalog(world: Any, follow: Any) -> Catalog:
    """Two sealed days and an open one."""
    world.fill(OLD, 80, sealed=True)
    world.fill(NEW, 60, sealed=True)
    world.fill(OPEN, 40, sealed=False)
    made: Catalog = follow(world)
    return made


def events_of(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Every event, with where it lies."""
    return [
        {**fields, "part": number, "row": row}
        for number, segment in enumerate(snapshot.segments)
        for row, fields in enumerate(segment.view.events.fetch(range(segment.view.rows)))
    ]


def test_every_narrative_is_there_once(world: Any, catalog: Catalog) -> None:
    """The texts are those of the events; each has the vector that its model gives it."""
    with catalog.lease() as snapshot:
        found = SentenceBook().of(snapshot)
        told = {event["narrative"] for event in events_of(snapshot)}
        assert set(found.numbers) == told
        assert sorted(found.numbers.values()) == list(range(len(told)))
        assert found.words.sentences == tuple(found.numbers)
        (query,) = world.embedders.semantic.embed(["slow DNS traffic"])
        vectors = world.embedders.semantic.embed(list(found.numbers))
        distances = found.distances({"semantic@000000000001": query})["semantic@000000000001"]
        assert distances == pytest.approx(1 - vectors @ query, abs=1e-3)


def test_every_text_of_a_segment_knows_its_number(catalog: Catalog) -> None:
    """A row leads to its sentence through its text; what is no narrative has no number."""
    with catalog.lease() as snapshot:
        found = SentenceBook().of(snapshot)
        for segment in snapshot.segments:
            places, view = found.places[id(segment.view)], segment.view
            for row, fields in enumerate(view.events.fetch(range(view.rows))):
                assert places[view.columns["narrative"][row]] == found.numbers[fields["narrative"]]
            assert places[np.unique(view.columns["class"])].max() == -1


def test_an_open_day_only_adds(world: Any, catalog: Catalog, until: Any) -> None:
    """What sealed days have is kept; new events of the open day add to it, and nothing of the first is changed."""
    book = SentenceBook()
    with catalog.lease() as snapshot:
        first = book.of(snapshot)
        assert book.of(snapshot) is first
        texts = tuple(first.numbers)
        world.write(OPEN, world.make(OPEN, 60, prefix="more"))
        until(lambda: _rows(catalog) == 240)
        with catalog.lease() as later:
            second = book.of(later)
            assert len(second) > len(first)
            assert tuple(second.numbers)[: len(texts)] == texts
            known = {event["narrative"] for event in events_of(later)}
            assert set(second.numbers) == known
            fresh = SentenceBook().of(later)
            assert dict(fresh.numbers) == dict(second.numbers)
            scores = [one.words.search("DNS traffic").scores.tolist() for one in (fresh, second)]
            assert scores[0] == scores[1]
        assert tuple(first.numbers) == texts
        assert len(first.words) == len(texts)


def _rows(catalog: Catalog) -> int:
    with catalog.lease() as snapshot:
        return snapshot.rows


def test_days_of_several_models_have_a_vector_of_each(world: Any, follow: Any, mixed: Any) -> None:
    """The same sentences on days of two models have a vector by each of them, which are not mixed up."""
    with follow(world).lease() as snapshot:
        found = SentenceBook().of(snapshot)
        assert set(found.meanings) == {"semantic@000000000001", "semantic@000000000002"}
        text = next(iter(found.numbers))
        old, new = world.embedders.semantic, mixed.newer[1]
        queries = {model.model_id: model.embed([text])[0] for model in (old, new)}
        for distances in found.distances(queries).values():
            assert np.isfinite(distances).all()
            assert distances[found.numbers[text]] == pytest.approx(0.0, abs=1e-3)


def test_rows_without_vectors_yet_are_found_by_their_words(world: Any, follow: Any) -> None:
    """While an index lags, a new sentence has words and no vector."""
    world.fill(OPEN, 10, sealed=False)
    world.write(OPEN, world.make(OPEN, 30, prefix="late"), index=False)
    with follow(world).lease() as snapshot:
        found = SentenceBook().of(snapshot)
        (blocks,) = found.meanings.values()
        assert sum(len(block.numbers) for block in blocks) < len(found)
        assert set(found.numbers) == {event["narrative"] for event in events_of(snapshot)}


def test_memory_is_bounded(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the oldest sealed days lose sentences first; the open day still has room; it is counted."""
    monkeypatch.setattr(room, "MOST_SEALED", 5)
    monkeypatch.setattr(room, "MOST_SENTENCES", 8)
    with catalog.lease() as snapshot:
        found = SentenceBook().of(snapshot)
        assert len(found) == 8
        newest = set(snapshot.segments[1].view.texts)
        assert all(text in newest for text in list(found.numbers)[:5])
        assert set(found.left_out) == {OLD, NEW, OPEN}
        scope = Scope(snapshot, Bounds(5))
        assert present(scope, found).all()


def test_few_sets_are_kept(catalog: Catalog, world: Any, until: Any) -> None:
    """However often the open day grows, only the last few sets stay in memory."""
    book = SentenceBook()
    for turn in range(6):
        world.write(OPEN, world.make(OPEN, 3, prefix=f"turn{turn}"))
        until(lambda rows=180 + 3 * (turn + 1): _rows(catalog) == rows)  # type: ignore[misc]
        with catalog.lease() as snapshot:
            book.of(snapshot)
    assert len(book._kept) == room.MOST_KEPT


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_the_newest_events_of_sentences(catalog: Catalog, most: int) -> None:
    """Those of the chosen sentences, newest first, at most so many, over sealed and open days."""
    with catalog.lease() as snapshot:
        found = SentenceBook().of(snapshot)
        chosen = [number for text, number in found.numbers.items() if "DNS" in text]
        scope = Scope(snapshot, Bounds(most))
        hits = newest_events(scope, found, chosen, most)
        wanted = sorted(
            (event for event in events_of(snapshot) if "DNS" in event["narrative"]),
            key=lambda event: (event["time"], event["part"], event["row"]),
            reverse=True,
        )[:most]
        assert list(zip(hits.parts.tolist(), hits.rows.tolist(), strict=True)) == [
            (event["part"], event["row"]) for event in wanted
        ]
