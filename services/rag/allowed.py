"""What of a snapshot one that asks may see. Every answer is made from a snapshot that went through here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from services.common.access.rights import utc_day
from services.common.days.names import INDICES
from services.common.rpc import RequestError
from services.rag.as_of import read_moment
from services.rag.held import NOT_REACHED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.access.rights import Rights
    from services.rag.catalog import Snapshot

NO_RIGHT = "this key has no right to it"
_MEANING = {"meaning": "semantic"}
"""What a search `by` something looks into."""


@dataclass(frozen=True)
class Allowed:
    """Rights, on one UTC day (`today`, YYYY-MM-DD). Safe for several threads."""

    rights: Rights
    today: str

    @classmethod
    def now(cls, rights: Rights, now_ns: int) -> Allowed:
        """At a time in nanoseconds since 1970."""
        return cls(rights, utc_day(now_ns))

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuse a question that names an index, or by its `as_of` a day, that may not be seen.

        Raises:
            RequestError: it does (code "forbidden").
        """
        rights = self.rights
        if rights.see_everything:
            return
        index = _MEANING.get(str(values.get("by")), values.get("index"))
        if index in INDICES and index not in rights.indices:
            raise RequestError("forbidden", f"This key has no right to the index {index}.")
        as_of = values.get("as_of")
        days = () if as_of is None else read_moment(as_of).days
        if not all(rights.allow_day(part.day, self.today) for part in days):
            raise RequestError("forbidden", "This key has no right to all days that 'as_of' names.")

    def limit(self, snapshot: Snapshot) -> Snapshot:
        """The same without days and indices that may not be seen: as if they were not there."""
        rights = self.rights
        if rights.see_everything:
            return snapshot
        days = {day for day in _days_of(snapshot) if rights.allow_day(day, self.today)}
        left_out = frozenset(INDICES) - rights.indices
        segments = [segment for segment in snapshot.segments if segment.view.day in days]
        return replace(
            snapshot,
            segments=tuple(one.without(left_out, NO_RIGHT) if left_out else one for one in segments),
            faults=tuple(fault for fault in snapshot.faults if fault[0] in days),
            not_held=tuple(one for one in snapshot.not_held if one[0] in {*days, NOT_REACHED}),
            days_are_limited=not all(one.are_all for one in rights.days),
        )


def _days_of(snapshot: Snapshot) -> set[str]:
    told = {day for day, _ in (*snapshot.faults, *snapshot.not_held)} - {NOT_REACHED}
    return {segment.view.day for segment in snapshot.segments} | told
