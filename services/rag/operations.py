"""The operations that a replica offers: checks the arguments of a request, takes a snapshot, and answers."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.days.names import ENTITY
from services.common.errors import AppiaError, UsageError
from services.common.rpc import NotFound
from services.rag.arguments import parse_filters
from services.rag.browser import count_events, describe_days, get_event, list_events
from services.rag.entities import parse_host
from services.rag.scope import Bounds, Scope
from services.rag.searcher import FUSED, SEMANTIC

if TYPE_CHECKING:
    from services.common.rpc import Deadline
    from services.common.rpc_server import Handler
    from services.rag.catalog import Catalog, Snapshot
    from services.rag.entities import Entities
    from services.rag.searcher import Searcher

MAX_K = 1000
DEFAULT_K = 10
DEFAULT_LIMIT = 20
_ORDERS = ("newest", "oldest")
# Files vanish when their day is sealed; until the sealed day has been checked and opened, the question waits.
_GONE = (FileNotFoundError, sqlite3.OperationalError)
_GONE_RETRIES = 50
_GONE_WAIT_S = 0.1

Answer = Callable[["Snapshot", "Bounds"], dict[str, Any]]


@dataclass(frozen=True)
class Replica:
    """What a replica says about itself."""

    name: str
    pid: int
    version: str
    started: float  # on the monotonic clock, seconds

    def describe(self) -> dict[str, Any]:
        """Plain values for an answer."""
        uptime_s = round(time.monotonic() - self.started, 3)
        return {"name": self.name, "pid": self.pid, "version": self.version, "uptime_s": uptime_s}


class Arguments:
    """The arguments of one request; every one that is wrong is refused by name."""

    def __init__(self, raw: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
        """Take the arguments.

        Raises:
            UsageError: there is one that is not in `allowed`.
        """
        unknown = sorted(set(raw) - set(allowed))
        if unknown:
            known = ", ".join(allowed) or "none"
            raise UsageError(f"There is no argument {unknown[0][:80]!r}; there are: {known}.")
        self._raw = raw

    def text(self, name: str, default: str | None = None) -> str:
        """A text; required where there is no default."""
        value = self._raw.get(name, default)
        if not isinstance(value, str):
            raise UsageError(f"The argument {name!r} must be a text.")
        return value

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """One of several texts, the first by default."""
        value = self._raw.get(name, allowed[0])
        if value not in allowed:
            raise UsageError(f"The argument {name!r} must be one of {', '.join(allowed)}.")
        return str(value)

    def bounds(self, name: str, default: int, deadline: Deadline) -> Bounds:
        """How many events (the argument `name`), the filters and the deadline."""
        count = self._raw.get(name, default)
        if type(count) is not int or not 1 <= count <= MAX_K:
            raise UsageError(f"The argument {name!r} must be a whole number from 1 to {MAX_K}.")
        filters = self._raw.get("filters", {})
        if not isinstance(filters, dict):
            raise UsageError("The argument 'filters' must be a map.")
        return Bounds(count, parse_filters(filters), deadline)


class Operations:
    """Answers the requests of a replica. Safe for several threads."""

    def __init__(self, catalog: Catalog, searcher: Searcher, entities: Entities, replica: Replica) -> None:
        """Answer from `catalog`: about events by `searcher`, about hosts by `entities`."""
        self._catalog = catalog
        self._searcher = searcher
        self._entities = entities
        self._replica = replica

    def handlers(self) -> Mapping[str, Handler]:
        """The operations by name."""
        return {
            "similar": self.similar,
            "search": self.search,
            "get": self.get,
            "list": self.list,
            "days": self.days,
            "stats": self.stats,
            "ping": self.ping,
        }

    def similar(self, raw: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        """Events like one, or hosts like one: args event_id or host, k, index, filters."""
        args = Arguments(raw, ("event_id", "host", "k", "index", "filters"))
        index = args.text("index", FUSED)
        bounds = args.bounds("k", DEFAULT_K, deadline)
        if index == ENTITY:
            if "event_id" in raw:
                raise UsageError(f"The index {ENTITY} compares hosts: give 'host', not 'event_id'.")
            host = args.text("host")
            return self._answer(bounds, lambda snapshot, b: self._entities.similar(snapshot, host, b))
        if "host" in raw:
            raise UsageError(
                f"Only the index {ENTITY} compares hosts: ask it for 'host', or give 'event_id'."
            )
        event_id = args.text("event_id")
        return self._answer(bounds, lambda snapshot, b: self._similar_event(snapshot, event_id, index, b))

    def _similar_event(self, snapshot: Snapshot, event_id: str, index: str, bounds: Bounds) -> dict[str, Any]:
        try:
            return self._searcher.similar(snapshot, event_id, index, bounds)
        except NotFound:
            if parse_host(event_id) is None:
                raise
            raise UsageError(
                f"{event_id!r} is the address of a host, not the id of an event: the index {ENTITY} compares hosts."
            ) from None

    def search(self, raw: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        """Events whose narrative means what a text says: args text, k, index, filters."""
        args = Arguments(raw, ("text", "k", "index", "filters"))
        text = args.text("text")
        args.choice("index", (SEMANTIC,))
        bounds = args.bounds("k", DEFAULT_K, deadline)
        return self._answer(bounds, lambda snapshot, b: self._searcher.search(snapshot, text, b))

    def get(self, raw: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        """One event whole: args event_id."""
        event_id = Arguments(raw, ("event_id",)).text("event_id")
        return self._answer(Bounds(1, deadline=deadline), lambda snapshot, _: get_event(snapshot, event_id))

    def list(self, raw: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        """Events by time: args filters, limit, order."""
        args = Arguments(raw, ("filters", "limit", "order"))
        newest_first = args.choice("order", _ORDERS) == _ORDERS[0]
        bounds = args.bounds("limit", DEFAULT_LIMIT, deadline)
        return self._answer(bounds, lambda snapshot, b: list_events(snapshot, b, newest_first=newest_first))

    def days(self, raw: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        """Which days there are, and their indices: no args."""
        Arguments(raw, ())
        return self._answer(Bounds(1, deadline=deadline), lambda snapshot, _: describe_days(snapshot))

    def stats(self, raw: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        """Totals, and which replica answers: no args."""
        Arguments(raw, ())
        answer = self._answer(Bounds(1, deadline=deadline), lambda snapshot, _: count_events(snapshot))
        return {**answer, "replica": self._replica.describe()}

    def ping(self, raw: dict[str, Any], _deadline: Deadline) -> dict[str, Any]:
        """Which replica answers: no args."""
        Arguments(raw, ())
        return self._replica.describe()

    def _answer(self, bounds: Bounds, answer: Answer) -> dict[str, Any]:
        """Answer from a snapshot, with a receipt; from a newer one where files of the first have gone."""
        started = time.perf_counter()
        for _ in range(_GONE_RETRIES):
            bounds.deadline.check()
            with self._catalog.lease() as snapshot:
                try:
                    found = answer(snapshot, bounds)
                except _GONE:
                    pass
                else:
                    receipt = found.get("receipt") or Scope(snapshot, bounds).receipt()
                    took_ms = round((time.perf_counter() - started) * 1000, 3)
                    return {**found, "receipt": {**receipt, "took_ms": took_ms}}
            time.sleep(_GONE_WAIT_S)
        raise AppiaError("A day is being sealed and its new files cannot be read yet; ask again in a moment.")
