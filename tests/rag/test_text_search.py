"""A text finds the events that it describes: by its filters, by meaning, by words, on days of every model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.names import NS_PER_DAY
from services.common.errors import AppiaError, UsageError
from services.common.events.spanish import load_glossary
from services.rag import question_text
from services.rag.arguments import parse_filters
from services.rag.language.understanding import ENGLISH, Facts, Part, Understood
from services.rag.models import StoredModels
from services.rag.operations import Question, Surroundings
from services.rag.protocol import OPERATIONS
from services.rag.queries import Queries
from services.rag.scope import Bounds
from services.rag.text_search import TextSearch

if TYPE_CHECKING:
    from pathlib import Path

    from services.rag.catalog import Catalog, Snapshot

OLD, NEW, OPEN = "2026-01-20", "2026-01-21", "2026-01-22"
NOON_NS = int(datetime(2026, 1, 22, 12, tzinfo=UTC).timestamp()) * 10**9


def asked(text: str, k: int = 10, **more: Any) -> Question:
    """A request of `search` for single events, read as a replica reads it."""
    values = OPERATIONS["search"].read({"text": text, "k": k, "flat": True, **more})
    return Question(values, Bounds(k, parse_filters(values["filters"])))


def narrative_of(snapshot: Snapshot, segment: int, row: int) -> str:
    """The sentence of an event."""
    return str(snapshot.segments[segment].view.events.fetch([row])[0]["narrative"])


def understand_yesterday(text: str, now_ns: int, _facts: Facts) -> Understood:
    """Knows one phrase."""
    rest = " ".join(word for word in text.split() if word != "yesterday")
    if rest == text:
        return Understood(ENGLISH, rest=text)
    today = now_ns // NS_PER_DAY * NS_PER_DAY
    filters = {"since": today - NS_PER_DAY, "until": today}
    return Understood(ENGLISH, (Part("yesterday", filters, "on the day before"),), filters, rest)


@pytest.fixture
def yesterday(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is understood does not depend on the words that the language knows."""
    monkeypatch.setattr(question_text, "understand", understand_yesterday)


@pytest.fixture
def catalog(world: Any, follow: Any) -> Catalog:
    """Two sealed days and an open one."""
    world.fill(OLD, 80, sealed=True)
    world.fill(NEW, 60, sealed=True)
    world.fill(OPEN, 40, sealed=False)
    made: Catalog = follow(world)
    return made


@pytest.fixture
def texts(world: Any, small_queries: Any) -> TextSearch:
    return TextSearch(small_queries(world), surroundings=Surroundings(now_ns=lambda: NOON_NS))


@pytest.mark.parametrize("by", ["fused", "meaning", "words"])
def test_search_finds_narratives_newest_first(catalog: Catalog, texts: TextSearch, by: str) -> None:
    """The words of a narrative find the events that have it before all others, the newest first."""
    with catalog.lease() as snapshot:
        text = narrative_of(snapshot, 0, 0)
        hits = texts.search(snapshot, asked(text, by=by, parse=False))["hits"]
        same = [hit for hit in hits if hit["narrative"] == text]
        assert same
        assert same == hits[: len(same)]
        times = [hit["time"] for hit in same]
        assert times == sorted(times, reverse=True)
        scores = [hit["score"] for hit in hits]
        assert scores == sorted(scores, reverse=True)


def test_every_event_is_found_once(catalog: Catalog, texts: TextSearch) -> None:
    """With a k beyond all, every event of every day is a hit, each once."""
    with catalog.lease() as snapshot:
        hits = texts.search(snapshot, asked("traffic", 1000, by="meaning", parse=False))["hits"]
        assert len({hit["event_id"] for hit in hits}) == len(hits) == 180


def test_filters_hold_before_the_search(catalog: Catalog, texts: TextSearch) -> None:
    """All events that pass are there and no other, whatever ranks them first."""
    with catalog.lease() as snapshot:
        everything = texts.search(snapshot, asked("traffic", 1000, parse=False))["hits"]
        filters = {"class": "ddos", "since": f"{OLD}T12:00:00", "dst_port": "443-8080"}
        hits = texts.search(snapshot, asked("port scan", 1000, parse=False, filters=filters))["hits"]
        wanted = {
            hit["event_id"]
            for hit in everything
            if hit["class"] == "DDoS" and hit["time"] >= f"{OLD}T12:00:00" and 443 <= hit["dst_port"] <= 8080
        }
        assert wanted
        assert {hit["event_id"] for hit in hits} == wanted


def test_each_way_says_its_scores(catalog: Catalog, texts: TextSearch) -> None:
    """Fused hits have the score of both; meaning has distance and model; words have what BM25 gives."""
    with catalog.lease() as snapshot:
        text = narrative_of(snapshot, 1, 3)
        first = {
            by: texts.search(snapshot, asked(text, by=by, parse=False))["hits"][0]
            for by in ("fused", "meaning", "words")
        }
        assert first["fused"]["index"] == "fused"
        assert first["fused"]["score"] == pytest.approx(2 / 61)
        assert first["fused"]["scores"]["meaning"] == pytest.approx(first["meaning"]["score"])
        assert first["fused"]["scores"]["words"] == pytest.approx(first["words"]["score"])
        assert first["meaning"]["score"] == pytest.approx(1.0, abs=1e-5)
        assert first["meaning"]["distance"] == pytest.approx(1 - first["meaning"]["score"])
        assert first["meaning"]["model"] == "semantic@000000000001"
        assert first["words"]["index"] == "words"


def test_words_need_no_model(catalog: Catalog, tmp_path: Path) -> None:
    """Without any model words answer, and meaning is refused by a sentence."""
    texts = TextSearch(Queries(StoredModels(tmp_path)))
    with catalog.lease() as snapshot:
        answer = texts.search(snapshot, asked("DNS traffic over UDP", by="words"))
        assert answer["hits"]
        assert all("DNS" in hit["narrative"] or "UDP" in hit["narrative"] for hit in answer["hits"])
        assert answer["receipt"]["models"] == {}
        with pytest.raises(AppiaError, match="The model semantic@000000000001 is not in"):
            texts.search(snapshot, asked("port scan"))


def test_questions_in_words_reach_days_of_every_model(
    world: Any, follow: Any, small_queries: Any, mixed: Any
) -> None:
    """A text is embedded by each semantic model; where one is missing the receipt says so."""
    with follow(world).lease() as snapshot:
        text = narrative_of(snapshot, 0, 3)
        question = asked(text, 200, by="meaning", parse=False)
        both = TextSearch(small_queries(world, *mixed.newer)).search(snapshot, question)
        assert {hit["day"] for hit in both["hits"] if hit["score"] > 0.9999} == {OLD, NEW}
        assert len(both["receipt"]["models"]["semantic"]) == 2
        one = TextSearch(small_queries(world)).search(snapshot, question)
        assert one["receipt"]["models"] == {"semantic": ["semantic@000000000001"]}
        (missing,) = one["receipt"]["missing"]
        assert (missing["day"], missing["index"]) == (NEW, "semantic")
        assert "semantic@000000000002, which cannot be used" in missing["reason"]


@pytest.mark.usefixtures("yesterday")
def test_phrases_become_filters_that_are_shown(catalog: Catalog, texts: TextSearch) -> None:
    """A time in the text restricts the events; what was understood is in the answer; it can be switched off."""
    with catalog.lease() as snapshot:
        read = texts.search(snapshot, asked("DNS traffic yesterday", 200))
        assert {hit["day"] for hit in read["hits"]} == {NEW}
        assert read["understood"]["filters"]
        assert "yesterday" not in read["understood"]["searched"]
        plain = texts.search(snapshot, asked("DNS traffic yesterday", 200, parse=False))
        assert {hit["day"] for hit in plain["hits"]} == {OLD, NEW, OPEN}
        assert plain["understood"]["filters"] == {}
        assert plain["understood"]["searched"] == "DNS traffic yesterday"


@pytest.mark.usefixtures("yesterday")
def test_now_may_be_given(catalog: Catalog, texts: TextSearch) -> None:
    """Times are relative to `now` where it is given, and a wrong one is refused."""
    with catalog.lease() as snapshot:
        told = texts.search(snapshot, asked("traffic yesterday", 200, now=f"{NEW}T08:00:00Z"))
        assert {hit["day"] for hit in told["hits"]} == {OLD}
        with pytest.raises(UsageError, match="argument 'now' must be a time"):
            texts.search(snapshot, asked("traffic", now="soon"))


@pytest.mark.usefixtures("yesterday")
def test_given_filters_go_before_understood_ones(catalog: Catalog, texts: TextSearch) -> None:
    """A time that is given as a filter puts the one in the text aside, and the answer says so."""
    with catalog.lease() as snapshot:
        answer = texts.search(snapshot, asked("traffic yesterday", 200, filters={"days": [OLD]}))
        assert {hit["day"] for hit in answer["hits"]} == {OLD}
        assert answer["understood"]["filters"] == {}
        assert "not used, because such filters were given: since, until" in answer["understood"]["notes"]


@pytest.mark.usefixtures("yesterday")
def test_where_all_is_understood_the_newest_come_first(catalog: Catalog, texts: TextSearch) -> None:
    """A text that is filters and nothing else lists what passes them, the newest first."""
    with catalog.lease() as snapshot:
        answer = texts.search(snapshot, asked("yesterday", 20))
        assert answer["understood"]["searched"] == ""
        times = [hit["time"] for hit in answer["hits"]]
        assert len(times) == 20
        assert times == sorted(times, reverse=True)
        assert times[0] == max(fields["time"] for fields in snapshot.segments[1].view.events.fetch(range(60)))


def test_spanish_is_asked_in_the_words_of_the_narratives(
    world: Any, catalog: Catalog, small_queries: Any
) -> None:
    """A Spanish question has the hits of its English words, and says them."""
    texts = TextSearch(small_queries(world), load_glossary())
    with catalog.lease() as snapshot:
        spanish = texts.search(snapshot, asked("escaneo de puertos", parse=False))
        english = texts.search(snapshot, asked("port scan", parse=False))
        assert spanish["understood"]["searched"] == "port scan"
        assert spanish["hits"] == english["hits"]


def test_the_same_question_has_the_same_answer(
    world: Any, catalog: Catalog, small_queries: Any, until: Any
) -> None:
    """What was asked before, and what came since, changes nothing of the answer from the same snapshot."""
    texts = TextSearch(small_queries(world))
    question = asked("slow HTTP traffic cut off", 30, parse=False)
    with catalog.lease() as snapshot:
        first = texts.search(snapshot, question)
        world.write(OPEN, world.make(OPEN, 30, prefix="later"))
        until(lambda: _rows_now(catalog) == 210)
        with catalog.lease() as later:
            assert len(texts.search(later, asked("traffic", 1000, parse=False))["hits"]) == 210
        again = texts.search(snapshot, question)
        fresh = TextSearch(small_queries(world)).search(snapshot, question)
        assert first["hits"] == again["hits"] == fresh["hits"]


def _rows_now(catalog: Catalog) -> int:
    with catalog.lease() as snapshot:
        return snapshot.rows


def test_patterns_are_the_events_grouped(catalog: Catalog, texts: TextSearch) -> None:
    """Patterns come in the order of the single events, each once, with its count and its newest events."""
    with catalog.lease() as snapshot:
        hits = texts.search(snapshot, asked("slow DNS traffic", 1000, parse=False))["hits"]
        answer = texts.search(snapshot, asked("slow DNS traffic", 12, parse=False, flat=False))
        groups = answer["groups"]
        ordered = list(dict.fromkeys(hit["narrative"] for hit in hits))
        assert [group["narrative"] for group in groups] == ordered[:12]
        assert answer["patterns"] == len(ordered)
        for group in groups:
            same = [hit for hit in hits if hit["narrative"] == group["narrative"]]
            assert group["count"] == len(same)
            assert [event["event_id"] for event in group["examples"]] == [h["event_id"] for h in same[:3]]
            assert group["score"] == same[0]["score"]


@pytest.mark.usefixtures("yesterday")
def test_the_newest_patterns_are_listed_where_all_is_understood(catalog: Catalog, texts: TextSearch) -> None:
    """Filters alone give the patterns whose events are the newest, as many as are asked for."""
    with catalog.lease() as snapshot:
        hits = texts.search(snapshot, asked("yesterday", 1000))["hits"]
        groups = texts.search(snapshot, asked("yesterday", 9, flat=False))["groups"]
        assert [group["narrative"] for group in groups] == list(
            dict.fromkeys(hit["narrative"] for hit in hits)
        )[:9]
        assert {group["index"] for group in groups} == {"filters"}
