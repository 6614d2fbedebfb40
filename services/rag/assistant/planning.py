"""What to ask the replicas besides `search`: only what a question plainly asks for, in English or Spanish."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.common.days.names import NS_PER_DAY, day_of, day_start_ns
from services.common.errors import UsageError
from services.rag.arguments import parse_time
from services.rag.assistant.addresses import addresses_in

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_DAYS = 366
_NOVEL = re.compile(
    r"""\b(?:
    (?:what|anything|something|everything)(?:'s|\s(?:is|was|has\sbeen|happened|that\s(?:is|was)))?
        \s(?:so\s|really\s)?(?:new|novel|unusual|strange|odd|different|out\sof\sthe\sordinary)
    |that\s(?:is|was|are|were)\s(?:so\s|really\s)?(?:new|novel|unusual|strange|odd|different)
    |never\s(?:been\s)?seen(?:\sbefore)?|not\sseen\sbefore|for\sthe\sfirst\stime|unlike\s(?:any|every)thing
    |anomal(?:y|ies|ous)|novelt(?:y|ies)|unusual\s(?:events|behaviou?r|activity|traffic)
    |(?:qué|que|algo|todo\slo)\s(?:hay\sde\s|hubo\sde\s|fue\s|es\s)?
        (?:nuevo|raro|inusual|extraño|diferente|distinto|fuera\sde\slo\s(?:común|normal|habitual))
    |novedad(?:es)?|nunca\s(?:antes\s)?vist[oa]s?|por\sprimera\svez|anomalías?|anómal[oa]s?
    |(?:actividad|tráfico|comportamiento)\s(?:inusual|anómal[oa]|extrañ[oa]|rar[oa])
    )(?!\w)""",
    re.IGNORECASE | re.VERBOSE,
)
_TIMELINE = re.compile(
    r"""\b(?:
    (?:what|how)\s(?:did|has|was|is|does|have)\b | timeline | history\sof | (?:hour\sby\shour|over\stime)
    | (?:behaviou?r|activity)\sof | when\s(?:did|was|has) | (?:since|from)\swhen
    | (?:qué|que)\s(?:hizo|hace|ha\shecho|estuvo\shaciendo|está\shaciendo) | cronología | línea\sde\stiempo
    | hora\s(?:por|a)\shora | historial?\sde | (?:actividad|comportamiento)\sde | (?:desde\s)?cuándo
    )(?!\w)""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True)
class Step:
    """A question to the replicas."""

    op: str
    args: Mapping[str, Any] = field(default_factory=dict)


def further_steps(question: str, found: Mapping[str, Any], given: Mapping[str, Any]) -> list[Step]:
    """What to ask after `search` found `found`, with the filters that were `given` and those that it understood."""
    filters = {**found["understood"]["filters"], **given}
    steps = []
    if _NOVEL.search(question):
        steps.append(Step("novel", {"days": _days(filters, found["receipt"]), "filters": filters}))
    hosts = addresses_in(question)
    if len(hosts) == 1 and _TIMELINE.search(question):
        times = {key: filters[key] for key in ("since", "until", "days") if key in filters}
        steps.append(Step("timeline", {"host": hosts[0], "filters": times}))
    return steps


def _days(filters: Mapping[str, Any], receipt: Mapping[str, Any]) -> int:
    """How many UTC days a question is about: from its `since` to its end, or to the newest event; else one."""
    newest = receipt.get("newest_event")
    if "since" not in filters or newest is None:
        return 1
    try:
        since, last = parse_time("since", filters["since"]), parse_time("newest_event", newest)
        if "until" in filters:
            last = min(last, parse_time("until", filters["until"]) - 1)
    except UsageError:
        return 1
    days = (day_start_ns(day_of(last)) - day_start_ns(day_of(since))) // NS_PER_DAY + 1
    return min(max(days, 1), MOST_DAYS)
