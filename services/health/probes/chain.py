"""Whether the signed chain of days holds, and the days fit it: whoever takes a day away is told of.

A child looks whenever the file of the chain is another or a day came or went, and once an hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.health.children import Task
from services.health.observation import Chain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from services.common.days.names import StateNames
    from services.health.children import Children
    from services.health.memory import Memory

MODULE = "services.common.days.prove_process"
EVERY_S, LEAST_S = 3600.0, 20.0
"""Once an hour, and not more often than this, however often days are sealed."""
MOST_FAILURES = 2
"""Checks in a row that did not end; one may have been killed for its memory."""
NOT_CHECKED = "the chain could not be checked: see why with `appia verify`"
_NS = 1_000_000_000


@dataclass(frozen=True)
class ChainFiles:
    """The state directory, and the public key that its chain has to be signed under (None: that of its keys)."""

    state: StateNames
    public: Path | None

    def words(self, head: str) -> Sequence[str]:
        """What the child is told."""
        public = () if self.public is None else ("--public", str(self.public))
        return (str(self.state.root), *public, "--head", head)

    def mark(self) -> tuple[object, ...] | None:
        """Differs where the chain, or which days there are, is not as before; None where there is no chain."""
        links = _stamp(self.state.links)
        return None if links is None else (links, _stamp(self.state.root / "days"))


class ChainLook:
    """What is known of the chain. For one thread; nothing blocks."""

    def __init__(
        self, files: ChainFiles, children: Children, memory: Memory, clock: Callable[[], int]
    ) -> None:
        """Know nothing yet; `clock` gives nanoseconds since 1970."""
        self._files = files
        self._children = children
        self._memory = memory
        self._clock = clock
        self._seen: Chain | None = None
        self._mark: tuple[object, ...] | None = None
        self._looked_ns = 0
        self._failures = 0

    def look(self) -> None:
        """Let a child check the chain where that is due."""
        mark, now_ns = self._files.mark(), self._clock()
        if mark is None and not self._memory.now.chain_head:
            return  # nothing was ever signed here
        since_s = abs(now_ns - self._looked_ns) / _NS
        if since_s >= (LEAST_S if mark != self._mark else EVERY_S):
            self._mark, self._looked_ns = mark, now_ns
            words = self._files.words(self._memory.now.chain_head)
            self._children.ask(Task("chain", MODULE, words, self._take, self._ended))

    def seen(self) -> Chain | None:
        """The chain as it was found last; None before, and where nothing was ever signed."""
        return self._seen

    def _take(self, said: Mapping[str, Any]) -> None:
        faults = tuple(str(sentence) for sentence in said.get("faults", ()))
        self._seen = Chain(int(said.get("links", 0)), faults)
        head, memory = str(said.get("head", "")), self._memory
        if head and not faults and head != memory.now.chain_head:
            memory.now.chain_links, memory.now.chain_head = self._seen.links, head
            memory.urgent()

    def _ended(self, well: bool) -> None:  # noqa: FBT001 - what a task takes
        """A check that cannot be done is told, because who attacks the chain may attack its check too."""
        self._failures = 0 if well else self._failures + 1
        self._looked_ns = self._looked_ns if well else 0  # again after `LEAST_S`
        if self._failures >= MOST_FAILURES:
            self._seen = Chain(0, (NOT_CHECKED,))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
