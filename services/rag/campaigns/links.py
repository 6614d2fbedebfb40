"""Links sightings by what they share, where that says enough: the rule of docs/campaigns.md."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

from services.rag.campaigns.rarity import network_of, purities, rarity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from services.common.rpc import Deadline
    from services.rag.campaigns.likeness import Likeness
    from services.rag.campaigns.rarity import Around
    from services.rag.campaigns.sightings import Sightings

ENOUGH = 0.5
"""Sightings are linked where the weight of what they share is at least this."""
NEAR, KIND = 0.2, 0.2
"""What likeness adds, and the same kind (category, label or class) where few have it; neither links anything alone."""
INSIDE, NETWORK = 0.5, 0.5
"""A shared destination counts so much where it is inside; a shared network at most so much."""
SOURCE, DESTINATION, STEPPING_STONE, OF_NETWORK = "source", "destination", "stepping_stone", "network"
MOST_PAIRS = 100_000
"""Pairs of sightings that are compared, those with the weightiest first; what is shared beyond that is passed over."""
_FEW = 64  # sightings that share something are compared each with each, of more those that follow each other


@dataclass(frozen=True)
class Shared:
    """Something that some sightings share, by ascending number."""

    kind: str
    what: bytes  # a host, or the network of `network_of`
    weight: float
    members: Sequence[int]


@dataclass(frozen=True)
class Link:
    """Why sightings were linked: what they share, and for how many pairs of them something else had to be added."""

    kind: str
    what: bytes
    weight: float
    members: Sequence[int]
    near: int = 0  # pairs that are alike
    same_kind: int = 0


class Union:
    """Sets that are merged: disjoint sets with path halving (Tarjan and van Leeuwen, JACM 31, 1984)."""

    def __init__(self, count: int) -> None:
        """Each of `count` things in a set of its own."""
        self._parents = list(range(count))

    def root(self, one: int) -> int:
        """The lowest number in the set of `one`."""
        parents = self._parents
        while parents[one] != one:
            parents[one] = parents[parents[one]]
            one = parents[one]
        return one

    def join(self, one: int, other: int) -> None:
        """Merge two sets."""
        low, high = sorted((self.root(one), self.root(other)))
        self._parents[high] = low

    def sets(self, members: Iterable[int]) -> list[list[int]]:
        """The sets of some things, each ascending, by their lowest number."""
        found: dict[int, list[int]] = {}
        for one in sorted(members):
            found.setdefault(self.root(one), []).append(one)
        return list(found.values())


@dataclass(frozen=True)
class Linker:
    """Finds what sightings share, and links them. For one question."""

    found: Sightings
    around: Around
    likeness: Likeness
    internal: NDArray[np.bool_]  # for each host whether it is inside

    def links(self, deadline: Deadline) -> tuple[list[Link], bool]:
        """All links, the weightiest first, and whether there was time and room for all."""
        shared = sorted(self._shared(), key=lambda one: (-one.weight, one.kind, one.what, one.members[0]))
        kinds = self._kinds()
        links: list[Link] = []
        room = MOST_PAIRS
        for one in shared:
            if one.weight >= ENOUGH:
                links.append(Link(one.kind, one.what, one.weight, one.members))
                continue
            pairs = _pairs(one.members)
            room -= len(pairs)
            if room < 0 or deadline.is_near:
                return links, False
            links += self._supported(one, pairs, kinds)
        return links, True

    def _shared(self) -> Iterator[Shared]:
        sources = _by_host(self.found.hosts("src"), self.found.alike)
        targets = _by_host(self.found.hosts("dst"))
        pure = purities(self.found, self.around)
        yield from self._same_source(sources)
        yield from self._same_destination(targets, pure)
        yield from self._stepping_stones(sources, targets)
        yield from self._same_network(sources, targets)

    def _same_source(self, sources: dict[int, list[int]]) -> Iterator[Shared]:
        for host, members in sources.items():
            if len(members) > 1:
                yield Shared(SOURCE, self.found.addresses[host], 1.0, members)

    def _same_destination(self, targets: dict[int, list[int]], pure: NDArray[np.float64]) -> Iterator[Shared]:
        for host, members in targets.items():
            weight = rarity(int(self.around.peers[host]), self.around.hosts) * float(pure[host])
            weight *= INSIDE if self.internal[host] else 1.0
            if _counts(weight) and len({self._actor(one) for one in members}) > 1:
                yield Shared(DESTINATION, self.found.addresses[host], weight, members)

    def _stepping_stones(
        self, sources: dict[int, list[int]], targets: dict[int, list[int]]
    ) -> Iterator[Shared]:
        """Hosts that were a destination, and a source later.

        It says the more the fewer came to the host, and the fewer hosts of its side these went to: after a scan of half
        the net it says little that one of these does something later.
        """
        reached: dict[int, set[int]] = {}
        for host, members in targets.items():
            for one in members:
                reached.setdefault(self._actor(one), set()).add(host)
        for host in sorted(sources.keys() & targets.keys()):
            acted = sources[host][0]
            hit = [one for one in targets[host] if one < acted and self._actor(one) != host]
            if not hit:
                continue
            narrowest = min(hit, key=lambda one: (len(reached[self._actor(one)]), -one))
            side = self.around.inside if self.internal[host] else self.around.hosts - self.around.inside
            reach = len(reached[self._actor(narrowest)])
            weight = rarity(reach, side) / len({self._actor(one) for one in hit})
            if _counts(weight):
                yield Shared(STEPPING_STONE, self.found.addresses[host], weight, (narrowest, acted))

    def _same_network(self, sources: dict[int, list[int]], targets: dict[int, list[int]]) -> Iterator[Shared]:
        """Networks outside of which several hosts were seen in these events, and few in others."""
        hosts: dict[bytes, set[int]] = {}
        networks = network_of(self.found.addresses).tolist()
        for host in sorted(sources.keys() | targets.keys()):
            if not self.internal[host]:
                hosts.setdefault(networks[host], set()).add(host)
        for network, inside in hosts.items():
            weight = NETWORK * len(inside) / self.around.networks[network]
            if len(inside) > 1 and _counts(weight):
                members = {one for host in inside for by in (sources, targets) for one in by.get(host, ())}
                if len(members) > 1:
                    yield Shared(OF_NETWORK, network, weight, sorted(members))

    def _actor(self, sighting: int) -> int:
        """The source of a sighting; of one with several a number of its own."""
        return int(self.found.firsts["src"][sighting]) if self.found.alike[sighting] else -1 - sighting

    def _kinds(self) -> list[float]:
        """For each sighting what it adds to share its kind: the less, the more sightings are of it."""
        codes = self.found.firsts["kind"].tolist()
        counts = Counter(codes)
        return [
            KIND * (1 - counts[code] / len(codes)) if self.found.texts[code].strip() else 0.0
            for code in codes
        ]

    def _supported(
        self, one: Shared, pairs: Sequence[tuple[int, int]], kinds: Sequence[float]
    ) -> Iterator[Link]:
        """The links of what does not say enough by itself: between pairs that are also alike or of a kind."""
        codes = self.found.firsts["kind"]
        joined: list[tuple[int, int, bool, bool]] = []
        for first, second in pairs:
            near = self.likeness.near(first, second)
            same = bool(codes[first] == codes[second]) and kinds[first] > 0
            if one.weight + NEAR * near + kinds[first] * same >= ENOUGH:
                joined.append((first, second, near, same))
        if not joined:
            return
        union = Union(len(self.found))
        for first, second, *_ in joined:
            union.join(first, second)
        for members in union.sets({end for pair in joined for end in pair[:2]}):
            here = [pair for pair in joined if union.root(pair[0]) == members[0]]
            counts = (sum(pair[place] for pair in here) for place in (2, 3))
            yield Link(one.kind, one.what, one.weight, members, *counts)


def _counts(weight: float) -> bool:
    """Whether a weight can be enough with all that may be added."""
    return weight >= ENOUGH - NEAR - KIND


def _pairs(members: Sequence[int]) -> list[tuple[int, int]]:
    return list(combinations(members, 2) if len(members) <= _FEW else pairwise(members))


def _by_host(pairs: NDArray[np.int64], wanted: NDArray[np.bool_] | None = None) -> dict[int, list[int]]:
    """The sightings (of those that are wanted) of each host, ascending, from pairs (m, 2) of sighting and host."""
    found: dict[int, list[int]] = {}
    for sighting, host in (pairs if wanted is None else pairs[wanted[pairs[:, 0]]]).tolist():
        found.setdefault(host, []).append(sighting)
    return found
