"""Campaigns as plain values: what happened step by step, who took part, and why it belongs together."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.events.techniques import techniques_in
from services.rag.campaigns.links import DESTINATION, OF_NETWORK, SOURCE, STEPPING_STONE
from services.rag.entities import address_text
from services.rag.events import Place, read_events
from services.rag.scope import iso_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.rag.campaigns.links import Link
    from services.rag.campaigns.sightings import Sightings
    from services.rag.scope import Scope

NAMED = 3
"""Hosts of either side that are named, those with the most events; and kinds and techniques in a summary."""
MOST_STEPS, MOST_LINKS = 50, 20
_ID_DIGITS = 12
_NO_NAME = "without a name"


@dataclass(frozen=True)
class Campaign:
    """Sightings that were linked, ascending, and their links."""

    found: Sightings
    members: Sequence[int]
    links: Sequence[Link]

    @cached_property
    def events(self) -> NDArray[Any]:
        """Its events, (n,) of dtype `sightings.EVENT`, by time."""
        table = np.concatenate([self.found.events(member) for member in self.members])
        return table[np.lexsort((table["row"], table["part"], table["time_ns"]))]

    @property
    def days(self) -> list[str]:
        """Its days, ascending."""
        return sorted({self.found.days[day] for day in self.found.firsts["day"][list(self.members)].tolist()})

    def kinds(self, events: NDArray[Any]) -> Counter[str]:
        """How many of some events were of which kind: category, or else label, or class."""
        return Counter({name or _NO_NAME: count for name, count in self._named(events, "kind").items()})

    @property
    def identity(self) -> str:
        """The same while the campaign begins with the same sighting: it stands for its day, narrative and source."""
        first = self.found.firsts[self.members[0]]
        host = self.found.addresses[first["src"]] if self.found.alike[self.members[0]] else b""
        text = f"{self.found.days[first['day']]}\n{self.found.texts[first['narrative']]}\n{host.hex()}"
        return hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS]

    def rank(self) -> tuple[int, int, int]:
        """The lower the more it matters: days times kinds, then events, then when it began."""
        events = self.events
        return -len(self.days) * len(self.kinds(events)), -len(events), self.members[0]

    def show(self, scope: Scope) -> dict[str, Any]:
        """Everything about it; reads up to three events."""
        events = self.events
        kinds = dict(self.kinds(events).most_common())
        steps = self._steps(events)
        shown = {
            "id": self.identity,
            "days": self.days,
            "first_seen": iso_time(int(events["time_ns"][0])),
            "last_seen": iso_time(int(events["time_ns"][-1])),
            "count": len(events),
            "patterns": len(self.members),
            "kinds": kinds,
            "classes": self._named(events, "class"),
            "techniques": self._techniques(),
            "highest_threat": round(float(events["overall"].max()), 4),
            "hosts": self._hosts(events),
            "steps": steps[:MOST_STEPS],
            "stepped": len(steps),
            "links": [self._show_link(link) for link in self._telling_links()[:MOST_LINKS]],
            "linked": len(self.links),
            "examples": self._examples(scope, events),
        }
        return {**shown, "summary": summary(shown)}

    def _named(self, events: NDArray[Any], column: str) -> dict[str, int]:
        codes, counts = np.unique(events[column], return_counts=True)
        pairs = zip((self.found.texts[code] for code in codes.tolist()), counts.tolist(), strict=True)
        return dict(sorted(pairs, key=lambda item: (-item[1], item[0])))

    def _techniques(self) -> list[dict[str, Any]]:
        total: Counter[str] = Counter()
        names: dict[str, str] = {}
        for member in self.members:
            events = self.found.events(member)
            for one in techniques_in(self.found.texts[events["narrative"][0]]):
                total[one.number] += len(events)
                names[one.number] = one.name
        return [{"id": number, "name": names[number], "events": n} for number, n in _ordered(total)]

    def _hosts(self, events: NDArray[Any]) -> dict[str, Any]:
        return {"sources": self._side(events, "src"), "destinations": self._side(events, "dst")}

    def _side(self, events: NDArray[Any], side: str) -> dict[str, Any]:
        codes, counts = np.unique(events[side], return_counts=True)
        names = Counter(
            {self.found.addresses[code]: n for code, n in zip(codes.tolist(), counts.tolist(), strict=True)}
        )
        most = [{"address": address_text(address), "events": n} for address, n in _ordered(names)[:NAMED]]
        return {"count": len(codes), "at_least": False, "most": most}

    def _steps(self, events: NDArray[Any]) -> list[dict[str, Any]]:
        """What happened, by day and kind, in the order in which it began."""
        keys = events["day"].astype(np.int64) << 32 | events["kind"]
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
        steps = [self._step(events[here]) for here in np.split(order, starts[1:])]
        return sorted(steps, key=lambda step: (step["first_seen"], step["kind"]))

    def _step(self, events: NDArray[Any]) -> dict[str, Any]:
        first = events[0]
        narratives = self._named(events, "narrative")
        return {
            "day": self.found.days[first["day"]],
            "kind": self.found.texts[first["kind"]].strip() or _NO_NAME,
            "first_seen": iso_time(int(events["time_ns"][0])),
            "last_seen": iso_time(int(events["time_ns"][-1])),
            "count": len(events),
            "hosts": self._hosts(events),
            "narratives": len(narratives),
            "mostly": next(iter(narratives)),
        }

    def _telling_links(self) -> list[Link]:
        """The links, those between hosts first: that a host did several things is said last."""
        return sorted(self.links, key=lambda link: link.kind == SOURCE)

    def _show_link(self, link: Link) -> dict[str, Any]:
        days = {self.found.days[day] for day in self.found.firsts["day"][list(link.members)].tolist()}
        name = address_text(link.what)
        if link.kind == OF_NETWORK:
            name += "/24" if "." in name else "/48"
        shown = {
            "kind": link.kind,
            "what": name,
            "weight": round(link.weight, 3),
            "patterns": len(link.members),
            "days": sorted(days),
            "near": link.near,
            "same_kind": link.same_kind,
        }
        return {**shown, "sentence": link_words(shown)}

    def _examples(self, scope: Scope, events: NDArray[Any]) -> list[dict[str, Any]]:
        """Its first event, the most threatening one, and the last."""
        numbers = dict.fromkeys([0, int(events["overall"].argmax()), len(events) - 1])
        pairs = events[["part", "row"]][list(numbers)].tolist()
        return read_events([Place(scope.parts[part].view, row) for part, row in pairs])


def summary(shown: dict[str, Any]) -> str:
    """One sentence about a campaign."""
    days, kinds, techniques = shown["days"], list(shown["kinds"]), shown["techniques"]
    when = f"On {days[0]}" if len(days) == 1 else f"On {len(days)} days, {days[0]} to {days[-1]}"
    sides = shown["hosts"]
    who = f"{_side_words(sides['sources'])} against {_side_words(sides['destinations'])}"
    what = f"{shown['count']:,} events of {len(kinds)} kind{'s' if len(kinds) > 1 else ''} ({_few(kinds)})"
    named = _few([f"{one['id']} {one['name']}".strip() for one in techniques])
    which = f"; ATT&CK {named}" if techniques else ""
    return f"{when}: {who}, {what}{which}."


def link_words(link: dict[str, Any]) -> str:
    """Why some sightings belong together, in a sentence."""
    patterns = (
        f"{link['patterns']:,} patterns on {len(link['days'])} day{'s' if len(link['days']) > 1 else ''}"
    )
    said = {
        SOURCE: f"{link['what']} is the source of {patterns}",
        DESTINATION: f"{link['what']}, which hardly anything else goes to, is a destination of {patterns}",
        STEPPING_STONE: f"{link['what']} was a destination first and a source of such events later",
        OF_NETWORK: f"{link['what']}, of which little else was seen, is in {patterns}",
    }[link["kind"]]
    more = [
        f"{count:,} pair{'s' if count > 1 else ''} {what}"
        for count, what in (
            (link["near"], "alike in numbers"),
            (link["same_kind"], "of the same kind"),
        )
        if count
    ]
    return f"{said}{'; ' + ', '.join(more) if more else ''}"


def _side_words(side: dict[str, Any]) -> str:
    named = [one["address"] for one in side["most"]]
    more = side["count"] - len(named)
    return f"{', '.join(named)}{f' and {more:,} more' if more else ''}"


def _few(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return f"{', '.join(names[:NAMED])}{f' and {more:,} more' if more > 0 else ''}"


def _ordered(total: Counter[Any]) -> list[tuple[Any, int]]:
    """The most frequent first, of equally frequent ones the lowest."""
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))
