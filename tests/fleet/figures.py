"""Numbers from the analyst's record, and from what replicas have: what was promised, counted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet.analyst import Asked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def read_record(path: Path) -> list[Asked]:
    """Every whole line of the analyst's record; one that is being written is left out."""
    text = path.read_text() if path.exists() else ""
    return [Asked(**json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed (nearest rank); 0 of none."""
    if not values:
        return 0.0
    ranked = sorted(values)
    return ranked[min(int(share * len(ranked)), len(ranked) - 1)]


@dataclass(frozen=True)
class Span:
    """What became of the questions that were asked within a span of time; times in seconds."""

    asked: int
    failed: tuple[str, ...]
    incomplete: int
    middle_s: float
    slowest_s: float
    behind_s: float
    furthest_behind_s: float


def span(record: Sequence[Asked], begin: float, end: float, site: str | None = None) -> Span:
    """The questions asked from `begin` to `end` (seconds since 1970), of one site or of all."""
    within = [one for one in record if begin <= one.at < end and site in {None, one.site}]
    # A question of the command line starts a Python first, which says nothing about how long the answer takes.
    took = [one.took_s for one in within if one.who != "command line"]
    behind = [one.behind_s for one in within if one.behind_s is not None]
    return Span(
        asked=len(within),
        failed=tuple(f"{one.site}: {one.question} by {one.who}: {one.fault}" for one in within if one.fault),
        incomplete=sum(one.missing > 0 for one in within),
        middle_s=quantile(took, 0.5),
        slowest_s=max(took, default=0.0),
        behind_s=quantile(behind, 0.5),
        furthest_behind_s=max(behind, default=0.0),
    )


@dataclass(frozen=True)
class Holding:
    """What one replica has of the events that were acknowledged."""

    site: str
    replica: str
    acknowledged: int
    held: int
    lost: int
    doubled: int
    foreign: int
    fault: str = ""

    @property
    def is_right(self) -> bool:
        """Whether it has every event that was acknowledged once, and no other."""
        return not (self.fault or self.lost or self.doubled or self.foreign)


def holdings(site: str, acknowledged: set[str], held: Mapping[str, list[str] | str]) -> list[Holding]:
    """Compare what each replica of a site told with what the sensors know to be acknowledged."""
    found = []
    for replica, events in sorted(held.items()):
        if isinstance(events, str):
            found.append(Holding(site, replica, len(acknowledged), 0, len(acknowledged), 0, 0, events))
            continue
        distinct = set(events)
        lost, foreign = len(acknowledged - distinct), len(distinct - acknowledged)
        doubled = len(events) - len(distinct)
        found.append(Holding(site, replica, len(acknowledged), len(events), lost, doubled, foreign))
    return found
