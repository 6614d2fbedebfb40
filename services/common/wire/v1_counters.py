"""What can be told about version 1 sensors from their counters: gaps, restarts, replays, repeated nonces.

Version 1 promises delivery at most once, so this counts what was lost; it brings nothing back.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.common.wire.v1 import FRAMES_OF_A_BOOT
from services.common.wire.v1_seen import Sighting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.wire.v1 import SealedV1
    from services.common.wire.v1_seen import SeenFrames

MAX_NODES = 10_000
NODE_CHARS = 128
LATE_WINDOW = 64


@dataclass(slots=True)
class NodeCounts:
    """Counts of one node since this receiver started.

    `missing` counts frames that never came, `gaps` the holes they left, `restarts` the times the counter
    began again, `nonces_reused` the frames under a nonce that another frame had: an alert, because equal
    nonces give away the XOR of two plaintexts and allow forgery.
    """

    frames: int = 0
    gaps: int = 0
    missing: int = 0
    late: int = 0
    restarts: int = 0
    replays: int = 0
    nonces_reused: int = 0


@dataclass(slots=True)
class _Node:
    counts: NodeCounts = field(default_factory=NodeCounts)
    boot: int = -1
    begin: int = 0
    last: int = -1
    recent: int = 0
    """Bit n stands for counter `last - n`."""

    def follow(self, boot: int, counter: int) -> None:
        if self.boot == -1:
            self._begin(boot, counter, counter)
        elif boot == self.boot and counter > self.last:
            self._advance(counter)
        elif boot == self.boot and self._is_late(counter):
            self.recent |= 1 << self.last - counter
            self.counts.late += 1
            self.counts.missing -= 1
        else:
            self.counts.restarts += 1
            # Old sensors begin at zero, this project at a multiple of 2**32.
            begin = counter - counter % FRAMES_OF_A_BOOT if boot else 0
            self._begin(boot, counter, begin)
            self._miss(counter - begin)

    def _begin(self, boot: int, counter: int, begin: int) -> None:
        self.boot, self.begin, self.last, self.recent = boot, begin, counter, 1

    def _advance(self, counter: int) -> None:
        step = counter - self.last
        self._miss(step - 1)
        self.recent = (self.recent << step | 1) & (1 << LATE_WINDOW) - 1 if step < LATE_WINDOW else 1
        self.last = counter

    def _miss(self, frames: int) -> None:
        self.counts.missing += frames
        self.counts.gaps += frames > 0

    def _is_late(self, counter: int) -> bool:
        behind = self.last - counter
        return counter >= self.begin and behind < LATE_WINDOW and not self.recent >> behind & 1


class V1Counters:
    """Follows the counter of every node, over a bounded number of nodes (the longest silent go first).

    Frames of one sensor are followed by its node id, which stands inside the event: the caller gives it.
    A counter that is lower than the last one is a restart, unless it fills one of the last 64 places.
    """

    def __init__(self, seen: SeenFrames, max_nodes: int = MAX_NODES) -> None:
        self._seen = seen
        self._max_nodes = max_nodes
        self._nodes: OrderedDict[str, _Node] = OrderedDict()

    def note(self, node: str, sealed: SealedV1) -> Sighting:
        """Count one authentic frame of `node`; writes to the file of `seen`, where there is one (OSError).

        A replay is not to be stored again. A frame with a reused nonce is stored like any other (old
        sensors do this at every restart), and alerted on.
        """
        following = self._node(node[:NODE_CHARS])
        following.counts.frames += 1
        sighting = self._seen.note(sealed)
        if sighting is Sighting.REPLAY:
            following.counts.replays += 1
            return sighting
        following.counts.nonces_reused += sighting is Sighting.NONCE_REUSED
        following.follow(sealed.boot, sealed.counter)
        return sighting

    def counts(self) -> Mapping[str, NodeCounts]:
        """Give the counts by node; the objects go on counting. For any thread."""
        # The list is made in one step; a loop over the nodes themselves would fail where one is counted meanwhile.
        return {name: node.counts for name, node in list(self._nodes.items())}

    def close(self) -> None:
        """Sync and close what is remembered of frames."""
        self._seen.close()

    def _node(self, name: str) -> _Node:
        node = self._nodes.setdefault(name, _Node())
        self._nodes.move_to_end(name)
        if len(self._nodes) > self._max_nodes:
            self._nodes.popitem(last=False)
        return node
