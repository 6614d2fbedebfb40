"""Whether the signed chain of days holds: a child checks it whenever its file is another, and once an hour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.health.children import Task
from services.health.observation import Chain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from services.health.children import Children
    from services.health.memory import Memory

MODULE = "services.common.chain.check_process"
EVERY_S, LEAST_S = 3600.0, 20.0
"""Once an hour, and not more often than this, however often days are sealed."""
_NS = 1_000_000_000


@dataclass(frozen=True)
class ChainFiles:
    """The file of the chain, the public key that it has to be signed under (None: that of `keys`), and the keys."""

    links: Path
    public: Path | None
    keys: Path

    def words(self, head: str) -> Sequence[str]:
        """What the child is told."""
        public = () if self.public is None else ("--public", str(self.public))
        return (str(self.links), *public, "--keys", str(self.keys), "--head", head)


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
        self._mark: tuple[int, int, int] | None = None
        self._looked_ns = 0

    def look(self) -> None:
        """Let a child check the chain where that is due."""
        mark, now_ns = self._mark_now(), self._clock()
        if mark is None and not self._memory.now.chain_head:
            return  # nothing was ever signed here
        since_s = abs(now_ns - self._looked_ns) / _NS
        if since_s >= (LEAST_S if mark != self._mark else EVERY_S):
            self._mark, self._looked_ns = mark, now_ns
            words = self._files.words(self._memory.now.chain_head)
            self._children.ask(Task("chain", MODULE, words, self._take, lambda _well: None))

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

    def _mark_now(self) -> tuple[int, int, int] | None:
        try:
            found = self._files.links.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
