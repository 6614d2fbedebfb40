"""The operations of the replicas as typed methods, for a client that blocks and for one that is awaited."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Filters = Mapping[str, Any]
    """Filters by name, see docs/queries.md: {"class": "MALICIOUS", "since": "2026-01-22T14:00:00Z"}."""


class Questions(ABC):
    """Every method asks one operation, described in docs/queries.md with its answer, and raises as `ask` does.

    `k` counts what is shown at most, 1 to 1000: groups of events, or single events where `flat`. Times are ISO 8601
    (UTC where no offset is given) or nanoseconds since 1970. `as_of` is that of a receipt: the answer is then what it
    was at that time. With `enrich` each event is told more about: places, networks, services, techniques.
    """

    @abstractmethod
    def ask(self, op: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the operation `op`.

        Raises:
            RpcRefused: the question was refused; its `code` says why.
            AppiaError: no replica is known, or none answered in time.
        """

    def similar(
        self,
        event_id: str,
        k: int = 10,
        index: str = "fused",
        filters: Filters | None = None,
        *,
        flat: bool = False,
        as_of: str | None = None,
        enrich: bool = False,
    ) -> dict[str, Any]:
        """Events like one, in the index "fused", "attack", "semantic" or "temporal"."""
        return self.ask(
            "similar",
            _given(
                event_id=event_id, k=k, index=index, filters=filters, flat=flat, as_of=as_of, enrich=enrich
            ),
        )

    def similar_hosts(
        self, host: str, k: int = 10, filters: Filters | None = None, *, as_of: str | None = None
    ) -> dict[str, Any]:
        """Hosts that did on their day what `host` did: "10.0.0.5" on its newest day, or "10.0.0.5@2026-01-22"."""
        return self.ask("similar", _given(host=host, k=k, index="entity", filters=filters, as_of=as_of))

    def search(
        self,
        text: str,
        k: int = 10,
        filters: Filters | None = None,
        *,
        by: str = "fused",
        parse: bool = True,
        now: str | None = None,
        flat: bool = False,
        as_of: str | None = None,
        enrich: bool = False,
    ) -> dict[str, Any]:
        """Events that a text describes, by "fused", "meaning" or "words".

        With `parse` phrases such as "yesterday" become filters, relative to `now` or the moment of asking.
        """
        return self.ask(
            "search",
            _given(
                text=text,
                k=k,
                filters=filters,
                by=by,
                parse=parse,
                now=now,
                flat=flat,
                as_of=as_of,
                enrich=enrich,
            ),
        )

    def hybrid(
        self,
        entity: str,
        text: str,
        k: int = 10,
        filters: Filters | None = None,
        *,
        flat: bool = False,
        as_of: str | None = None,
        enrich: bool = False,
    ) -> dict[str, Any]:
        """Events of a host or network that a text describes."""
        return self.ask(
            "hybrid",
            _given(entity=entity, text=text, k=k, filters=filters, flat=flat, as_of=as_of, enrich=enrich),
        )

    def explain(
        self,
        event_id: str,
        others: Sequence[str] | None = None,
        k: int = 3,
        filters: Filters | None = None,
        *,
        as_of: str | None = None,
        enrich: bool = False,
    ) -> dict[str, Any]:
        """What tells an event from `others`, or from its `k` nearest, and what would make it benign."""
        other_ids = None if others is None else list(others)
        return self.ask(
            "explain",
            _given(event_id=event_id, others=other_ids, k=k, filters=filters, as_of=as_of, enrich=enrich),
        )

    def timeline(
        self, host: str, filters: Filters | None = None, *, as_of: str | None = None
    ) -> dict[str, Any]:
        """What a host did hour by hour, and where its behaviour changed."""
        return self.ask("timeline", _given(host=host, filters=filters, as_of=as_of))

    def novel(
        self,
        days: int = 1,
        k: int = 10,
        index: str = "fused",
        percentile: float | None = None,
        filters: Filters | None = None,
        *,
        as_of: str | None = None,
        enrich: bool = False,
    ) -> dict[str, Any]:
        """Events of the last `days` days that are farther from everything before than `percentile` % of the past.

        Without it by the setting `novel_percentile` of the replica, 99.9 where it was not changed.
        """
        return self.ask(
            "novel",
            _given(
                days=days,
                k=k,
                index=index,
                percentile=percentile,
                filters=filters,
                as_of=as_of,
                enrich=enrich,
            ),
        )

    def campaigns(
        self,
        k: int = 10,
        filters: Filters | None = None,
        *,
        event_id: str | None = None,
        as_of: str | None = None,
        enrich: bool = False,
    ) -> dict[str, Any]:
        """Events linked across days by what they share; those linked to `event_id` where that is given."""
        return self.ask(
            "campaigns", _given(k=k, filters=filters, event_id=event_id, as_of=as_of, enrich=enrich)
        )

    def get(self, event_id: str, *, as_of: str | None = None, enrich: bool = False) -> dict[str, Any]:
        """One event whole."""
        return self.ask("get", _given(event_id=event_id, as_of=as_of, enrich=enrich))

    def list(
        self,
        filters: Filters | None = None,
        limit: int = 20,
        order: str = "newest",
        *,
        after: str | None = None,
        as_of: str | None = None,
        enrich: bool = False,
    ) -> dict[str, Any]:
        """Events by time, `order` "newest" or "oldest" first, `limit` 1 to 1000 of them.

        A further page comes with the `next` of the one before as `after`, and the `as_of` of the first.
        """
        return self.ask(
            "list",
            _given(filters=filters, limit=limit, order=order, after=after, as_of=as_of, enrich=enrich),
        )

    def feedback(
        self,
        event_id: str | None = None,
        limit: int = 20,
        filters: Filters | None = None,
        *,
        as_of: str | None = None,
    ) -> dict[str, Any]:
        """What analysts said about an event, or about all, the newest first."""
        return self.ask("feedback", _given(event_id=event_id, limit=limit, filters=filters, as_of=as_of))

    def days(self, *, as_of: str | None = None) -> dict[str, Any]:
        """Which days there are."""
        return self.ask("days", _given(as_of=as_of))

    def stats(self, *, as_of: str | None = None) -> dict[str, Any]:
        """Totals, and which replica answers."""
        return self.ask("stats", _given(as_of=as_of))

    def ping(self) -> dict[str, Any]:
        """Which replica answers."""
        return self.ask("ping", {})


_OFF = {"enrich": False}


def _given(**args: Any) -> dict[str, Any]:
    """The arguments that say something: neither None nor the flag that every operation has switched off."""
    named = {name: value for name, value in args.items() if value is not None and _OFF.get(name) is not value}
    return {name: dict(value) if name == "filters" else value for name, value in named.items()}
