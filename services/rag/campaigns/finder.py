"""Answers `campaigns`: events that matter, linked across days by what they share."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.errors import UsageError
from services.rag.arguments import DEFAULT_INTERNAL
from services.rag.campaigns.likeness import INDEX, Likeness
from services.rag.campaigns.links import Linker, Union
from services.rag.campaigns.rarity import look_around
from services.rag.campaigns.showing import Campaign
from services.rag.campaigns.sightings import gather
from services.rag.events import find_event, read_events
from services.rag.filters import Filters
from services.rag.networks import addresses_in
from services.rag.scope import Scope

if TYPE_CHECKING:
    from services.rag.campaigns.sightings import Sightings
    from services.rag.catalog import Snapshot
    from services.rag.events import Place
    from services.rag.networks import Network
    from services.rag.scope import Bounds

JUDGING = (
    "klass",
    "category",
    "label",
    "tags",
    "technique",
    "scores",
    "source",
    "fast_triggered",
    "feedback",
    "blocked",
)
"""Filters that say what matters: with one of them everything that passes does."""
OF_TIME = ("since_ns", "until_ns", "days", "hours")


@dataclass(frozen=True)
class Campaigns:
    """Finds campaigns. Safe for several threads; a call blocks for its own work. `internal` is what is inside."""

    internal: tuple[Network, ...] = DEFAULT_INTERNAL

    def find(self, snapshot: Snapshot, event_id: str | None, bounds: Bounds) -> dict[str, Any]:
        """The campaigns among the events that pass the filters, or that of one event; see docs/campaigns.md.

        Raises:
            NotFound: there is no event with this id.
            UsageError: it does not pass the filters.
            RequestError: the time was over before anything was looked at.
        """
        seed = None if event_id is None else find_event(snapshot, event_id)
        scope = Scope(snapshot, bounds, (INDEX,))
        if seed is not None:
            _check(scope, seed)
        found = gather(scope, seed, everything=_says_what_matters(bounds.filters))
        groups, alone = self._campaigns(scope, found, bounds)
        chosen = groups if seed is None else [one for one in groups if _has(scope, one, seed)]
        shown = {
            "campaigns": [one.show(scope) for one in chosen[: bounds.k]],
            "found": len(chosen),
            "events": len(found.table),
            "patterns": len(found),
            "alone": alone,
        }
        event = {} if seed is None else {"event": read_events([seed])[0]}
        return {**event, **shown, "receipt": scope.receipt()}

    def _campaigns(self, scope: Scope, found: Sightings, bounds: Bounds) -> tuple[list[Campaign], int]:
        """The campaigns, those that matter most first, and how many sightings are in none."""
        if not len(found):
            return [], 0
        everything = _everything(scope, bounds)
        around = look_around(everything, found.addresses, self.internal)
        addresses = np.frombuffer(b"".join(found.addresses), np.uint8).reshape(len(found.addresses), -1)
        inside = addresses_in(addresses, self.internal)
        links, whole = Linker(found, around, Likeness.of(scope, found), inside).links(scope.deadline)
        if everything.partial or not whole:
            scope.partial = True
            scope.doubt("there was no time to compare all that patterns share")
        union = Union(len(found))
        for link in links:
            for member in link.members[1:]:
                union.join(link.members[0], member)
        sets = [members for members in union.sets(range(len(found))) if len(members) > 1]
        of_root = {members[0]: Campaign(found, members, []) for members in sets}
        for link in links:
            root = union.root(link.members[0])
            of_root[root] = replace(of_root[root], links=[*of_root[root].links, link])
        alone = len(found) - sum(map(len, sets))
        return sorted(of_root.values(), key=Campaign.rank), alone


def _says_what_matters(filters: Filters) -> bool:
    plain = Filters()
    return any(getattr(filters, name) != getattr(plain, name) for name in JUDGING)


def _everything(scope: Scope, bounds: Bounds) -> Scope:
    """All events of the time asked about: what is rare is so among all, not among those that were asked for."""
    plain, given = Filters(), bounds.filters
    others = [field.name for field in fields(Filters) if field.name not in OF_TIME]
    of_time = replace(given, **{name: getattr(plain, name) for name in others})
    return Scope(scope.snapshot, replace(bounds, filters=of_time))


def _check(scope: Scope, seed: Place) -> None:
    for part in scope.parts:
        if part.view is seed.view and (part.rows is None or np.isin(seed.row, part.rows)):
            return
    raise UsageError("The event does not pass the filters: widen them, or leave them out.")


def _has(scope: Scope, campaign: Campaign, seed: Place) -> bool:
    """Whether an event is one of a campaign."""
    (number,) = (number for number, part in enumerate(scope.parts) if part.view is seed.view)
    events = campaign.events
    return bool(((events["part"] == number) & (events["row"] == seed.row)).any())
