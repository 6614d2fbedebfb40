"""A replica answers with the weights of its configuration, and keeps what it has learned of days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.common.config.tree import RagLive
from services.common.observing.condition import Readiness
from services.rag.building import _tools
from services.rag.live import LiveParts, tools_for
from services.rag.operations import Replica
from services.rag.settings import RagSettings

if TYPE_CHECKING:
    from pathlib import Path


class Taking:
    """Operations and server, as far as a configuration reaches them."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.limit = 0

    def use(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    def limit_waiting(self, limit: int) -> None:
        self.limit = limit


def test_new_tools_share_what_is_expensive(tmp_path: Path) -> None:
    """Weights, glossary and percentile are others in every tool that uses them; caches and models are the same."""
    settings = RagSettings(state=tmp_path)
    before = _tools(settings, Replica.of_this_process("rag-1", "0", lambda: Readiness(ready=True)))
    live = RagLive(weight_attack=3, weight_words=4, question_glossary="none", novel_percentile=95)
    after = tools_for(before, live)
    assert (after.searcher.weights.attack, after.explainer.searcher) == (3, after.searcher)
    assert (after.texts.weights.words, after.texts.glossary, after.novel_percentile) == (4, None, 95)
    assert before.searcher.weights.attack == 1
    assert after.searcher.book is before.searcher.book
    assert after.explainer.spreads is before.explainer.spreads
    assert (after.novelty, after.entities) == (before.novelty, before.entities)
    assert tools_for(after, RagLive()) == before
    taking: Any = Taking()
    LiveParts(before, taking, taking).apply(live.model_copy(update={"waiting": 7}))
    assert (taking.limit, "novel" in taking.answers) == (7, True)
