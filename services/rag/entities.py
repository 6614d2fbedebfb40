"""Answers `similar` in the index `entity`: which hosts did on their day what one host did on its day."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.columns import pack_address
from services.common.days.expansion import Nearness
from services.common.days.fusion import similarity
from services.common.days.names import ENTITY, parse_day
from services.common.errors import AppiaError, UsageError
from services.common.events.profile_words import profile_facts, profile_words
from services.common.rpc import NotFound
from services.rag.filters import Filters
from services.rag.nearest import Found, Hits, merge
from services.rag.networks import addresses_in
from services.rag.scope import Bounds, Scope, iso_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.common.days.entity_index import EntityIndex
    from services.common.days.view import SegmentView
    from services.rag.catalog import Snapshot
    from services.rag.hosts_on_demand import HostModels, HostsOnDemand
    from services.rag.queries import Vectors

ALLOWED_FILTERS = ("days", "host")
_SHOWN = {"since_ns": "since", "until_ns": "until", "klass": "class"}


@dataclass(frozen=True)
class HostName:
    """A host that is asked about: its 16 bytes, as text, and the day; None for the newest day that has it."""

    address: bytes
    text: str
    day: str | None


def parse_host(text: str) -> HostName | None:
    """`IP` or `IP@DAY`; None where it does not begin with an address.

    Raises:
        UsageError: it begins with one, and what follows is no day.
    """
    host, at, day = text.strip().partition("@")
    try:
        address = pack_address(host)
    except ValueError:
        return None
    return HostName(address, address_text(address), parse_day(day) if at else None)


def address_text(address: bytes) -> str:
    """16 bytes as people write them: IPv4 with dots."""
    found = ipaddress.IPv6Address(address)
    return str(found.ipv4_mapped or found)


@dataclass(frozen=True)
class _Day:
    """The hosts of a day that can be searched."""

    day: str
    index: EntityIndex

    @property
    def model_id(self) -> str:
        return self.index.vectors.spec.model_id

    def describe(self, row: int) -> dict[str, Any]:
        """One host as plain values."""
        facts, about = self.index.hosts.facts[row], profile_facts(self.index.hosts.profiles[row])
        return {
            "address": address_text(facts["address"].tobytes()),
            "day": self.day,
            "first_seen": iso_time(int(facts["first_ns"])),
            "last_seen": iso_time(int(facts["last_ns"])),
            "summary": profile_words(about),
            **about,
        }


class _Days:
    """The days of a snapshot with their hosts, each opened when it is first needed. For one question, one thread."""

    def __init__(self, scope: Scope, open_hosts: HostsOnDemand) -> None:
        self._scope = scope
        self._open_hosts = open_hosts
        self._views: dict[str, list[SegmentView]] = {}
        for segment in scope.snapshot.segments:
            if segment.view.rows:
                self._views.setdefault(segment.view.day, []).append(segment.view)
        self._opened: dict[str, _Day | None] = {}

    def names(self) -> list[str]:
        """Days with events, the newest first."""
        return sorted(self._views, reverse=True)

    def get(self, day: str) -> _Day | None:
        """A day's hosts; None where there are none, which the receipt then says."""
        if day not in self._opened:
            self._scope.deadline.check()
            views = self._views.get(day, [])
            index = self._index(day, views) if views else None
            self._opened[day] = None if index is None else _Day(day, index)
        return self._opened[day]

    def reasons(self, day: str) -> list[str]:
        """Why the hosts of a day cannot be searched, as far as it is known."""
        return self._scope.reasons((ENTITY,), day)

    def _index(self, day: str, views: Sequence[SegmentView]) -> EntityIndex | None:
        if all(view.sealed for view in views):
            (sealed,) = views
            if ENTITY in sealed.missing:
                self._scope.miss(day, ENTITY, sealed.missing[ENTITY])
            return sealed.hosts
        try:
            made = self._open_hosts.of(views, exact=self._scope.snapshot.is_past)
        except AppiaError as error:
            self._scope.miss(day, ENTITY, str(error))
            return views[0].hosts
        self._scope.doubt(f"the hosts of {day}, which is open, are those that the model in use makes")
        events = sum(view.rows for view in views)
        if made.events < events:
            self._scope.miss(day, ENTITY, f"the hosts are those of {made.events} of {events} events")
        return made.index


@dataclass(frozen=True)
class Entities:
    """Searches the hosts of a snapshot. Safe for several threads; a call blocks for its own search."""

    models: HostModels
    open_hosts: HostsOnDemand

    def similar(self, snapshot: Snapshot, text: str, bounds: Bounds) -> dict[str, Any]:
        """The hosts most like the one that `text` names, `IP` or `IP@DAY`: {"host", "hits", "receipt"}.

        The host itself on other days may be among the hits. Blocks about a second for a million events of an open day.

        Raises:
            UsageError: `text` names no host, or there is a filter that hosts do not have.
            NotFound: no day here has the host.
            RequestError: the deadline has passed.
        """
        name = _named(text)
        _check(bounds.filters)
        scope = Scope(snapshot, Bounds(bounds.k, Filters(days=bounds.filters.days), bounds.deadline))
        days = _Days(scope, self.open_hosts)
        asked, row = _find(days, name)
        wanted = sorted({part.view.day for part in scope.parts}, reverse=True)
        opened = [days.get(day) for day in wanted if scope.begin(day, ENTITY)]
        searched = [day for day in reversed(opened) if day is not None]
        queries = self._queries(scope, asked, row, searched)
        reached = [(day, _selected(day, bounds.filters)) for day in searched if day.model_id in queries]
        models = sorted({day.model_id for day, _ in reached})
        return {
            "host": asked.describe(row),
            "hits": _nearest(reached, queries, (asked, row), bounds.k),
            "receipt": {
                **scope.receipt(),
                "rows": sum(len(rows) for _, rows in reached),
                "models": {ENTITY: models} if models else {},
            },
        }

    def _queries(self, scope: Scope, asked: _Day, row: int, days: Sequence[_Day]) -> Vectors:
        """The host in each model of these days, from its profile where its own day has another."""
        found = {asked.model_id: asked.index.vectors.vector(row)}
        for model_id in sorted({day.model_id for day in days} - {asked.model_id}):
            try:
                (found[model_id],) = self.models.profiles(model_id).embed(
                    asked.index.hosts.profiles[row][None]
                )
            except AppiaError as error:
                for day in days:
                    if day.model_id == model_id:
                        reason = f"made by model {model_id}, which cannot be used: {error}"
                        scope.miss(day.day, ENTITY, reason)
        return found


def _named(text: str) -> HostName:
    name = parse_host(text)
    if name is None:
        raise UsageError(
            f"{text[:80]!r} is no address: the index {ENTITY} compares hosts, so ask for IP or IP@DAY, for example "
            "10.0.0.5@2026-01-22; for an event choose another index."
        )
    return name


def _check(filters: Filters) -> None:
    """Refuse what says nothing about a host."""
    plain = Filters()
    given = [
        field.name for field in fields(filters) if getattr(filters, field.name) != getattr(plain, field.name)
    ]
    refused = [_SHOWN.get(name, name) for name in given if name not in ALLOWED_FILTERS]
    if refused:
        raise UsageError(
            f"Hosts can be filtered by {' and '.join(ALLOWED_FILTERS)}, not by {', '.join(refused)}: in the index "
            f"{ENTITY} a row is a host with all its events of a day."
        )


def _find(days: _Days, name: HostName) -> tuple[_Day, int]:
    """The day to compare and the host's row in it.

    Raises:
        NotFound: the host is not there.
    """
    for day in days.names() if name.day is None else [name.day]:
        opened = days.get(day)
        row = None if opened is None else opened.index.hosts.find(name.address)
        if opened is not None and row is not None:
            return opened, row
    raise NotFound(_why_absent(days, name))


def _why_absent(days: _Days, name: HostName) -> str:
    if name.day is None:
        return f"There is no host {name.text} on any day here ({len(days.names())} in all)."
    if name.day not in days.names():
        return f"There is no event of {name.day} here, so no host {name.text} on that day."
    opened = days.get(name.day)
    if opened is None:
        return f"The hosts of {name.day} cannot be searched now: {'; '.join(days.reasons(name.day))}."
    left_out = opened.index.hosts.left_out
    more = f"; {left_out} hosts with the fewest events have no vector there" if left_out else ""
    return f"The host {name.text} was not seen on {name.day}{more}: ask without the day for its newest."


def _selected(day: _Day, filters: Filters) -> NDArray[np.int64]:
    """The hosts of a day that pass, int64, ascending."""
    hosts = day.index.hosts
    if not filters.host:
        return np.arange(len(hosts))
    return np.flatnonzero(addresses_in(hosts.facts["address"], filters.host))


def _nearest(
    days: Sequence[tuple[_Day, NDArray[np.int64]]], queries: Vectors, asked: tuple[_Day, int], k: int
) -> list[dict[str, Any]]:
    """The k nearest hosts, of equally near ones those last seen nearest in time; of several models by rank."""
    own, row = asked
    moment_ns = int(own.index.hosts.facts["last_ns"][row])
    found: dict[str, list[Hits]] = {}
    searched: dict[str, int] = {}
    for number, (day, rows) in enumerate(days):
        if day is own:
            rows = rows[rows != row]  # noqa: PLW2901 - the host itself is no answer
        near = Nearness(np.ascontiguousarray(day.index.hosts.facts["last_ns"]), moment_ns)
        answer = day.index.vectors.search(queries[day.model_id], k, near, rows)
        hits = Hits(np.full(len(answer.rows), number), answer.rows, near.gaps(answer.rows), answer.distances)
        found.setdefault(day.model_id, []).append(hits)
        searched[day.model_id] = searched.get(day.model_id, 0) + len(rows)
    hits = merge([Found(hits, searched[model_id]) for model_id, hits in found.items()], k)
    return [
        _hit(days[part][0], place, distance)
        for part, place, distance in zip(
            hits.parts.tolist(), hits.rows.tolist(), hits.distances.tolist(), strict=True
        )
    ]


def _hit(day: _Day, row: int, distance: float) -> dict[str, Any]:
    score = similarity(day.index.vectors.spec.metric, distance)
    facts = {"index": ENTITY, "model": day.model_id, "score": score, "distance": distance}
    return {**day.describe(row), **facts}
