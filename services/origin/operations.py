"""What an origin answers: `list`, `stat` and `read`, which together are a file system that nothing can be written to.

    list {"path", "after": name or ""}      -> {"entries": [[name, kind, size, mtime_ns]...], "last": name or ""}
    stat {"path"}                           -> {"name", "kind", "size", "mtime_ns"}
    read {"ranges": [[path, start, length]...]}
                                            -> {"parts": [{"data", "size"} or {"error", "message"}...], "wait_s"}

`kind` is "file" or "directory", `size` is in bytes, `mtime_ns` in nanoseconds since 1970. A page of `list` begins after
a name; where it is not the last page, `last` is what the next one begins after. `read` answers the first ranges, in
order, with 1 MiB of data in all at most: the last part may be shorter than asked and others may be left out, and who
asked goes on from there. Where nothing may be sent yet, because of `bytes_per_s`, there are no parts, and `wait_s` says
in how many seconds there will be.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from services.common.access.names import INDICES, PING
from services.common.access.rights import utc_day
from services.common.errors import UsageError
from services.common.observing.condition import Served, without_facts
from services.common.rpc import FORBIDDEN, NotFound, RequestError
from services.origin.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from services.common.access.rights import Principal, Rights
    from services.common.days.carried import Carried
    from services.common.observing.condition import Condition
    from services.common.rpc import Deadline
    from services.common.rpc_server import Handler
    from services.origin.fair_rate import FairRate
    from services.origin.observing import Sent

MAX_CHUNK = 1 << 20
"""Bytes of data in one answer."""
MAX_RANGES = 256
PAGE = 1000
"""Entries in one answer."""
_LARGEST = 1 << 62
_LEAST_WAIT_S = 0.001


@dataclass(frozen=True)
class Sending:
    """How fast bytes may go, and how many went."""

    rate: FairRate
    sent: Sent


class Answering:
    """The operations by name, for any thread."""

    def __init__(
        self,
        root: Path,
        sending: Sending,
        condition: Condition,
        published: Callable[[], Mapping[str, Any]] = dict,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Answer from the state directory `root`; `published` is what `ping` tells of publishing.

        `clock` gives nanoseconds since 1970.
        """
        self._root = root
        self._rate, self._sent = sending.rate, sending.sent
        self._condition = condition
        self._published = published
        self._clock = clock

    def handlers(self, principal: Principal) -> Mapping[str, Handler]:
        """The operations as one that asks may use them. That it may use them at all is for `Gate` to say."""
        return {
            PING: partial(self._ping, principal),
            "list": lambda args, _deadline: self._list(self._tree(principal), args),
            "stat": lambda args, _deadline: self._stat(self._tree(principal), args),
            "read": lambda args, deadline: self._read(principal, args, deadline),
        }

    def _ping(self, principal: Principal, _args: Mapping[str, Any], _deadline: Deadline) -> dict[str, Any]:
        answer = self._condition.ping(Served())
        return {**answer, **self._published()} if principal.rights.see_facts else without_facts(answer)

    def _tree(self, principal: Principal) -> Tree:
        """What one that asks may read.

        Raises:
            RequestError: it may not see all indices, and the events that are read hold what all of them are made of.
        """
        rights = principal.rights
        if not rights.indices >= frozenset(INDICES):
            raise RequestError(
                FORBIDDEN,
                f'The key {principal.name} may not see all indices: who reads files needs indices = ["all"].',
            )
        return Tree(self._root, partial(_may_see, rights, utc_day(self._clock())))

    @staticmethod
    def _list(tree: Tree, args: Mapping[str, Any]) -> dict[str, Any]:
        path, after = _text(args, "path"), _text(args, "after", "")
        later = [name for name in tree.names(path) if name > after]
        entries = []
        for name in later[:PAGE]:
            try:
                node = tree.stat(f"{path}/{name}" if path else name)
            except NotFound:  # gone since it was listed, or no file
                continue
            entries.append([name, node.kind, node.size, node.mtime_ns])
        return {"entries": entries, "last": later[PAGE - 1] if len(later) > PAGE else ""}

    @staticmethod
    def _stat(tree: Tree, args: Mapping[str, Any]) -> dict[str, Any]:
        node = tree.stat(_text(args, "path"))
        return {"name": node.name, "kind": node.kind, "size": node.size, "mtime_ns": node.mtime_ns}

    def _read(self, principal: Principal, args: Mapping[str, Any], deadline: Deadline) -> dict[str, Any]:
        tree, ranges = self._tree(principal), _ranges(args)
        wanted = min(sum(length for _, _, length in ranges), MAX_CHUNK)
        grant = self._rate.allow(principal.name, wanted)
        if wanted and not grant.size:
            self._sent.held_back()
            return {"parts": [], "wait_s": max(round(grant.wait_s, 3), _LEAST_WAIT_S)}
        parts: list[dict[str, Any]] = []
        left = grant.size
        for path, start, length in ranges:
            if (length and not left) or (parts and deadline.is_near):
                break
            part = _part(tree, path, start, min(length, left))
            left -= len(part.get("data", b""))
            parts.append(part)
        self._rate.spent(principal.name, grant.size - left)
        self._sent.add(principal.name, grant.size - left)
        return {"parts": parts, "wait_s": 0.0}


def _part(tree: Tree, path: str, start: int, length: int) -> dict[str, Any]:
    try:
        data, size = tree.read(path, start, length)
    except NotFound as error:
        return {"error": error.code, "message": str(error)}
    return {"data": data, "size": size}


def _may_see(rights: Rights, today: str, place: Carried) -> bool:
    if place.day:
        return rights.allow_day(place.day, today)
    # What speaks of events of any day is for those who may see every day.
    return not place.of_all_days or all(days.are_all for days in rights.days)


def _text(args: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = args.get(name, default)
    if isinstance(value, str):
        return value
    raise UsageError(f"The argument {name!r} must be a text.")


def _ranges(args: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """The argument `ranges`, checked."""
    value = args.get("ranges")
    if not isinstance(value, list) or not 0 < len(value) <= MAX_RANGES:
        raise UsageError(f"The argument 'ranges' must be a list of 1 to {MAX_RANGES} ranges.")
    return [_range(one) for one in value]


def _range(value: object) -> tuple[str, int, int]:
    match value:
        case [str(path), int(start), int(length)] if 0 <= start < _LARGEST and 0 <= length < _LARGEST:
            return path, start, length
    raise UsageError("A range is [path, start, length]: a text, and two whole numbers from 0 on.")
