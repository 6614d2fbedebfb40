"""Answers the requests of a replica: reads the arguments, takes a snapshot, and adds the receipt."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from services.common.access.rights import LOCAL
from services.common.errors import AppiaError
from services.common.observing.condition import (
    Condition,
    Configured,
    Process,
    Readiness,
    not_configured,
    without_facts,
)
from services.common.rpc import NotFound
from services.rag.allowed import Allowed
from services.rag.arguments import DEFAULT_INTERNAL, parse_filters
from services.rag.as_of import read_moment, says_when, with_now
from services.rag.asking import KIND
from services.rag.enrichment import Enricher
from services.rag.limits import refuse_future
from services.rag.protocol import OPERATIONS, PING
from services.rag.quality import QUALITY, audit_days
from services.rag.readiness import served_by
from services.rag.scope import Bounds, Scope, iso_time

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from services.common.access.rights import Principal
    from services.common.rpc import Deadline
    from services.common.rpc_server import Handler
    from services.rag.catalog import Catalog, Snapshot
    from services.rag.networks import Network
    from services.rag.protocol import Operation

# Files vanish when their day is sealed; until the sealed day has been checked and opened, the question waits.
_GONE = (FileNotFoundError, sqlite3.OperationalError)
_GONE_RETRIES = 50
_GONE_WAIT_S = 0.1


@dataclass(frozen=True)
class Question:
    """A request whose arguments have been checked: their values by name, and what limits the answer."""

    values: Mapping[str, Any]
    bounds: Bounds
    now: str | None = None  # the moment of asking, where `values` have it because the request named none

    @property
    def as_of(self) -> str | None:
        """The moment to answer from; None for now."""
        found: str | None = self.values.get("as_of")
        return found

    def about(self, snapshot: Snapshot) -> Question:
        """The question with filters that know what analysts and firewalls had said when the snapshot was taken."""
        filters = self.bounds.filters
        if not filters.feedback and not filters.blocked:
            return self
        filters = replace(filters, remarks=snapshot.remarks, decisions=snapshot.decisions)
        return replace(self, bounds=replace(self.bounds, filters=filters))


Answer = Callable[["Snapshot", Question], dict[str, Any]]
"""Answers one operation from a snapshot. Safe for several threads. The receipt is added where it gives none."""


@dataclass(frozen=True)
class Replica:
    """What a replica says about itself."""

    name: str
    pid: int
    version: str
    started: float  # on the monotonic clock, seconds
    readiness: Callable[[], Readiness] = lambda: Readiness(ready=True)
    configured: Callable[[], Configured] = not_configured

    @classmethod
    def of_this_process(
        cls,
        name: str,
        version: str,
        readiness: Callable[[], Readiness],
        configured: Callable[[], Configured] = not_configured,
    ) -> Replica:
        """The replica that begins now."""
        return cls(name, os.getpid(), version, time.monotonic(), readiness, configured)

    def condition(self, stuck: Callable[[], str] = str) -> Condition:
        """What it shows of itself; `stuck` tells why it cannot take a request."""
        process = Process(KIND, self.name, self.version, self.pid, self.started)
        return Condition(process, self.readiness, stuck, self.configured)

    def describe(self) -> dict[str, Any]:
        """Plain values for an answer."""
        uptime_s = round(time.monotonic() - self.started, 3)
        return {"name": self.name, "pid": self.pid, "version": self.version, "uptime_s": uptime_s}


@dataclass(frozen=True)
class Surroundings:
    """What filters mean here and now."""

    internal: tuple[Network, ...] = DEFAULT_INTERNAL
    now_ns: Callable[[], int] = time.time_ns  # nanoseconds since 1970


class Operations:
    """Answers the requests of a replica. Safe for several threads."""

    def __init__(
        self,
        catalog: Catalog,
        answers: Mapping[str, Answer],
        replica: Replica,
        surroundings: Surroundings | None = None,
        enricher: Enricher | None = None,
    ) -> None:
        """Answer each operation of `protocol.OPERATIONS` from the snapshots of `catalog`; `replica` answers `ping`."""
        self._catalog = catalog
        self._answers = answers
        self._replica = replica
        self._surroundings = surroundings or Surroundings()
        self._enricher = enricher or Enricher(self._surroundings.internal)

    def use(self, answers: Mapping[str, Answer]) -> None:
        """Answer with others from the next question on. For any thread."""
        self._answers = answers

    def handlers(self, principal: Principal = LOCAL) -> Mapping[str, Handler]:
        """The operations by name, as one that asks may use them. That it may use them at all is for `Gate` to say."""
        questions = {name: self._handler(OPERATIONS[name], principal) for name in OPERATIONS if name != PING}
        others = {PING: partial(self._ping, principal), QUALITY.name: partial(self._quality, principal)}
        return {**questions, **others}

    def _ping(self, principal: Principal, raw: dict[str, Any], _deadline: Deadline) -> dict[str, Any]:
        """Needs no day to be readable. Who may not see all days is not told which of them lag."""
        OPERATIONS[PING].read(raw)
        rights = principal.rights
        with self._catalog.lease() as snapshot:
            served = served_by(Allowed.now(rights, self._surroundings.now_ns()).limit(snapshot))
        answer = self._replica.condition().ping(served)
        if not rights.see_facts:
            return without_facts(answer)
        return answer if rights.see_everything else {**answer, "why": ""}

    def _quality(self, principal: Principal, raw: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        values = QUALITY.read(raw)
        allowed = Allowed.now(principal.rights, self._surroundings.now_ns())
        allowed.check(values)
        with self._catalog.lease() as snapshot:
            return audit_days(allowed.limit(snapshot), values, deadline.check)

    def _handler(self, operation: Operation, principal: Principal) -> Handler:
        answer = self._answers[operation.name]

        def handle(raw: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
            question = self._question(operation, raw, deadline)
            allowed = Allowed.now(principal.rights, self._surroundings.now_ns())
            allowed.check(question.values)
            return self._answer(answer, question, allowed)

        return handle

    def _answer(self, answer: Answer, question: Question, allowed: Allowed) -> dict[str, Any]:
        """Answer from what may be seen of a snapshot, with a receipt; from a newer one where files have gone."""
        started = time.perf_counter()
        for _ in range(_GONE_RETRIES):
            question.bounds.deadline.check()
            with self._lease(question) as everything:
                snapshot = allowed.limit(everything)
                refuse_future(question.bounds.filters, snapshot, self._surroundings.now_ns())
                try:
                    found = answer(snapshot, question.about(snapshot))
                except _GONE:
                    if question.as_of is not None:
                        raise NotFound("Files that 'as_of' names went meanwhile: leave it out.") from None
                else:
                    return self._finished(found, snapshot, question, started)
            time.sleep(_GONE_WAIT_S)
        raise AppiaError("A day is being sealed and its new files cannot be read yet; ask again in a moment.")

    def _finished(
        self, found: dict[str, Any], snapshot: Snapshot, question: Question, started: float
    ) -> dict[str, Any]:
        """An answer with its receipt, and with what else is known about its events."""
        receipt = found.get("receipt") or Scope(snapshot, question.bounds).receipt()
        if question.now is not None and says_when(found):
            receipt = {**receipt, "as_of": with_now(receipt["as_of"], question.now)}
        shown = snapshot.decisions.show_in(snapshot.remarks.show_in({**found, "receipt": receipt}))
        if question.values.get("enrich"):
            shown = self._enricher.show_in(shown)
        took_ms = round((time.perf_counter() - started) * 1000, 3)
        return {**shown, "receipt": {**shown["receipt"], "took_ms": took_ms}}

    def _lease(self, question: Question) -> AbstractContextManager[Snapshot]:
        """What the question is answered from: what can be seen now, or could be seen then."""
        if question.as_of is None:
            return self._catalog.lease()
        return self._catalog.lease_past(question.as_of, question.bounds.deadline)

    def _question(self, operation: Operation, raw: Mapping[str, Any], deadline: Deadline) -> Question:
        values = operation.read(raw)
        count = values.get("k", values.get("limit", 1))
        filters = parse_filters(values.get("filters", {}), self._surroundings.internal)
        now = None
        if "now" in values and values["now"] is None:
            now = self._now(values.get("as_of"))
            values["now"] = now
        return Question(values, Bounds(count, filters, deadline), now)

    def _now(self, as_of: str | None) -> str:
        """The moment that words like "yesterday" are relative to: that of asking, then or now."""
        then = read_moment(as_of).now if as_of is not None else None
        return then or iso_time(self._surroundings.now_ns())
