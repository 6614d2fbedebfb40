"""How a running replica takes a configuration: new answers are built beside those in use, and swapped in one step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.common.config.joining import Joining, join
from services.common.config.sections import base_of
from services.common.config.store import Place
from services.common.config.tree import RAG, RagLive
from services.common.days.fusion import FusionWeights
from services.common.events.spanish import load_glossary
from services.rag.answers import answers_with
from services.rag.text_ranking import TextWeights

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from services.common.config.watcher import Watcher
    from services.common.events.spanish import Glossary
    from services.common.rpc_server import RpcServer
    from services.rag.answers import Tools
    from services.rag.operations import Operations
    from services.rag.settings import RagSettings


def watch_config(settings: RagSettings, report: Callable[[str, dict[str, Any]], None]) -> Watcher[RagLive]:
    """The watcher of the replicas' section, which has read nothing yet and changes no files.

    Raises:
        AppiaError: a key of the registry cannot be used.
    """
    place = Place(settings.registry, settings.state, settings.registry_keys)
    return join(base_of(RAG, RagLive, settings), Joining(place, report, settings.config_within_s))


def with_live(settings: RagSettings, live: RagLive) -> RagSettings:
    """The settings with live values in the place of their own."""
    return settings.model_copy(update=dict(live))


def fusion_of(live: RagLive) -> FusionWeights:
    """How much each index counts."""
    return FusionWeights(live.weight_attack, live.weight_semantic, live.weight_temporal)


def text_weights_of(live: RagLive) -> TextWeights:
    """How much meaning and words count."""
    return TextWeights(live.weight_meaning, live.weight_words)


def glossary_of(live: RagLive) -> Glossary | None:
    """What puts questions into English; None where they are asked as they are."""
    return load_glossary() if live.question_glossary == "spanish" else None


def tools_for(tools: Tools, live: RagLive) -> Tools:
    """The same tools with other values; what they have learned of days (models, tables, distances) is shared."""
    searcher = replace(tools.searcher, weights=fusion_of(live))
    texts = replace(tools.texts, weights=text_weights_of(live), glossary=glossary_of(live))
    return replace(
        tools,
        searcher=searcher,
        texts=texts,
        explainer=replace(tools.explainer, searcher=searcher),
        novel_percentile=live.novel_percentile,
    )


@dataclass(frozen=True)
class LiveParts:
    """The parts of a replica that a configuration changes; `tools` are those that it began with."""

    tools: Tools
    operations: Operations
    server: RpcServer

    def apply(self, live: RagLive) -> None:
        """Take a configuration: questions that are being answered end as they began. Blocks on no question."""
        answers = answers_with(tools_for(self.tools, live))
        self.operations.use(answers)
        self.server.limit_waiting(live.waiting)
