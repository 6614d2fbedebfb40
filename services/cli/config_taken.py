"""Waits for running services to say that they took a configuration, or why they did not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from services.common.config.tree import HEALTH, INGESTER, RAG
from services.common.errors import AppiaError
from services.common.registry.connect import open_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from services.common.config.store import Place
    from services.common.registry.port import Entry, Registry

KINDS = (INGESTER, RAG, HEALTH)
"""Sections of which a service of that kind says what it took."""
LOOK_S = 0.25


class Answer(StrEnum):
    """What a service says about a revision."""

    TAKEN = "takes it"
    REFUSED = "refuses it"
    TRYING = "tries it"
    SILENT = "has not said anything yet"


@dataclass(frozen=True)
class Said:
    """What one service said."""

    service: str
    answer: Answer
    why: str = ""
    pinned: frozenset[str] = frozenset()
    """`SECTION.KEY` that its environment says, whatever the configuration says."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "service": self.service,
            "answer": self.answer.name.lower(),
            "why": self.why,
            "pinned": sorted(self.pinned),
        }


def said_by(entry: Entry, revision: int) -> Said:
    """What a service's entry says about a revision."""
    info, name = entry.info, f"{entry.kind}/{entry.name}"
    pinned = frozenset(f"{entry.kind}.{key}" for key in str(info.get("config_pinned", "")).split(",") if key)
    if "config_read" not in info:
        return Said(name, Answer.SILENT, "it follows no configuration", pinned)
    fault = str(info.get("config_fault", ""))
    if _number(info, "config_revision") >= revision:
        return Said(name, Answer.TRYING if _number(info, "config_trying") else Answer.TAKEN, "", pinned)
    refused = fault and _number(info, "config_read") >= revision
    # What cannot be read may be readable in a moment: it is no refusal.
    return Said(name, Answer.REFUSED if refused else Answer.SILENT, fault, pinned)


def _number(info: Mapping[str, str | int | float], key: str) -> float:
    value = info.get(key, 0)
    return 0 if isinstance(value, str) else value


def services_say(place: Place, sections: Iterable[str], revision: int) -> list[Said]:
    """What every running service of these sections says now. Blocks for the registry.

    Raises:
        AppiaError: the registry does not answer.
    """
    registry = open_registry(place.registry, place.state, place.registry_keys)
    try:
        return _look(registry, sections, revision)
    finally:
        registry.close()


def _look(registry: Registry, sections: Iterable[str], revision: int) -> list[Said]:
    return [
        said_by(entry, revision)
        for kind in KINDS
        if kind in set(sections)
        for entry in registry.entries(kind)
    ]


def wait_for_all(
    look: Callable[[], list[Said]], seconds: float, clock: Callable[[], float] = time.monotonic
) -> list[Said]:
    """Look until every service has taken or refused it, or the time is over; gives what they said last.

    A registry that does not answer meanwhile is asked again.
    """
    until = clock() + seconds
    said: list[Said] = []
    while True:
        try:
            said = look()
        except AppiaError as away:
            said = [Said("registry", Answer.SILENT, str(away))]
        if all(one.answer in (Answer.TAKEN, Answer.REFUSED) for one in said) or clock() >= until:
            return said
        time.sleep(LOOK_S)
