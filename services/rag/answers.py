"""Which part of a replica answers which operation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.common.days.names import ENTITY
from services.common.errors import UsageError
from services.common.rpc import NotFound
from services.rag.browser import count_events, describe_days, get_event
from services.rag.campaigns.finder import Campaigns
from services.rag.entities import parse_host
from services.rag.hybrid import search_host
from services.rag.listing import list_events
from services.rag.novelty.finder import NovelQuestion, Novelty
from services.rag.remark_list import list_remarks
from services.rag.timeline.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.rag.catalog import Snapshot
    from services.rag.entities import Entities
    from services.rag.explain import Explainer
    from services.rag.operations import Answer, Question, Replica
    from services.rag.searcher import Searcher
    from services.rag.text_search import TextSearch


@dataclass(frozen=True)
class Tools:
    """What answers are made with."""

    searcher: Searcher
    texts: TextSearch
    entities: Entities
    explainer: Explainer
    replica: Replica
    novelty: Novelty = field(default_factory=Novelty)
    timeline: Timeline = field(default_factory=Timeline)
    campaigns: Campaigns = field(default_factory=Campaigns)
    novel_percentile: float = 99.9
    """What counts as unusual where a question does not say."""


def answers_with(tools: Tools) -> Mapping[str, Answer]:
    """The answer to every operation of `protocol.OPERATIONS` but `ping`, by its name."""
    return {
        "similar": _Similar(tools.searcher, tools.entities),
        "search": tools.texts.search,
        "hybrid": lambda snapshot, q: search_host(tools.texts, snapshot, q),
        "explain": lambda snapshot, q: tools.explainer.explain(
            snapshot, q.values["event_id"], q.values["others"], q.bounds
        ),
        "novel": lambda snapshot, q: tools.novelty.find(
            snapshot, _novel(q.values, tools.novel_percentile), q.bounds
        ),
        "timeline": lambda snapshot, q: tools.timeline.tell(snapshot, q.values["host"], q.bounds),
        "campaigns": lambda snapshot, q: tools.campaigns.find(snapshot, q.values["event_id"], q.bounds),
        "get": lambda snapshot, q: get_event(snapshot, q.values["event_id"]),
        "list": _list,
        "feedback": lambda snapshot, q: list_remarks(snapshot, q.values["event_id"], q.bounds),
        "days": lambda snapshot, _: describe_days(snapshot),
        "stats": lambda snapshot, _: {**count_events(snapshot), "replica": tools.replica.describe()},
    }


def _list(snapshot: Snapshot, question: Question) -> dict[str, Any]:
    values = question.values
    newest_first = values["order"] == "newest"
    return list_events(snapshot, question.bounds, newest_first=newest_first, after=values["after"])


def _novel(values: Mapping[str, Any], usual: float) -> NovelQuestion:
    percentile = usual if values["percentile"] is None else values["percentile"]
    return NovelQuestion(values["days"], values["index"], percentile)


@dataclass(frozen=True)
class _Similar:
    """Events like an event, or hosts like a host."""

    searcher: Searcher
    entities: Entities

    def __call__(self, snapshot: Snapshot, question: Question) -> dict[str, Any]:
        values = question.values
        event_id, host, index = values["event_id"], values["host"], values["index"]
        if index == ENTITY:
            if event_id is not None or host is None:
                raise UsageError(f"The index {ENTITY} compares hosts: give 'host', not 'event_id'.")
            return self.entities.similar(snapshot, host, question.bounds)
        if host is not None or event_id is None:
            raise UsageError(
                f"Give 'event_id'; only the index {ENTITY} compares hosts, and is asked for 'host' instead."
            )
        search = self.searcher.similar if values["flat"] else self.searcher.similar_patterns
        try:
            return search(snapshot, event_id, index, question.bounds)
        except NotFound:
            if parse_host(event_id) is None:
                raise
            raise UsageError(
                f"{event_id!r} is the address of a host, not the id of an event: the index {ENTITY} compares hosts."
            ) from None
