"""The smallest change of an event that would make its nearest neighbours mostly benign.

The event is moved, knob by knob, to the values of a benign event that lies among benign ones (greedily, by what brings
it nearer to benign vectors and away from others), until most of its nearest neighbours are benign. Then every knob that
was not needed is taken back, and those that were needed are turned back as far as possible. After each
step the numbers that follow from others are made to (`flow_rules.settle`), and the attack model says where the changed
event lies; the real index says who its neighbours are. Nothing is random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from services.rag.flow_rules import KNOBS, settle
from services.rag.spread import NOMINAL, signed_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from services.rag.deltas import Measured
    from services.rag.flow_rules import Knob
    from services.rag.nearest import Hits
    from services.rag.spread import Spread

    Row = NDArray[np.float32]

NEIGHBOURS = 10
CROWD = 48
"""So many nearest events are remembered wherever the index is asked."""
MAJORITY = NEIGHBOURS // 2 + 1
"""So many of the ten nearest events have to be benign."""
MOST_TARGETS = 3
"""Benign events that are gone towards."""
HALVINGS = 3
"""How finely a knob is turned back: to an eighth of its way."""
MOST_LEARNED = 4
"""How often a direction may find neighbours that it did not expect, before it is given up."""


@dataclass(frozen=True)
class Crowd:
    """The `CROWD` nearest events of a vector: their vectors (n, dim), which are benign (n,), and where they lie."""

    vectors: NDArray[np.float32]
    benign: NDArray[np.bool_]
    hits: Hits

    @property
    def mostly_benign(self) -> bool:
        """Whether more than half of ten neighbours are benign."""
        return self.count_benign() >= MAJORITY

    def count_benign(self) -> int:
        """How many of the `NEIGHBOURS` nearest are benign."""
        return int(np.count_nonzero(self.benign[:NEIGHBOURS]))


Turned = Mapping[int, float]
"""How far knobs are turned, 0 to 1, by their number in `KNOBS`."""


class Space(Protocol):
    """Where changed events would lie."""

    def embed(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Their vectors (n, dim) by the attack model, of features (n, 144)."""
        ...

    def crowd(self, vector: NDArray[np.float32]) -> Crowd:
        """The `CROWD` nearest events of a vector (dim,), the nearest first. Blocks; raises when time is over."""
        ...

    def benign_targets(self) -> Iterator[Row]:
        """Features (144,) of benign events that lie among benign ones, the nearest first."""
        ...


@dataclass(frozen=True)
class Change:
    """A changed event (144,), by which knobs each turned how far (0 to 1), and who its neighbours are."""

    values: Row
    turned: Turned
    crowd: Crowd
    cost: float  # the sum of the knobs' ways, in robust sigmas of the day

    @property
    def knobs(self) -> list[Knob]:
        """Those that were turned, in their order."""
        return [KNOBS[number] for number in sorted(self.turned)]


def smallest_change(event: Measured, around: Space, spread: Spread) -> Change | None:
    """The smallest change that was found: by the fewest knobs, of as many the shortest way. None: there was none.

    What the detectors said is only changed where no change of the traffic is enough.

    Raises:
        RequestError: the time is over.
    """
    targets = [target for _, target in zip(range(MOST_TARGETS), around.benign_targets(), strict=False)]
    for verdicts in (False, True):
        found: list[tuple[Change, _Way]] = []
        for way in (_Way(event, target, (around, spread)) for target in targets):
            change = way.find(verdicts=verdicts)
            if change is not None:
                found.append((change, way))
                if len(change.turned) == 1:
                    break  # no other way has fewer
        if found:
            change, way = min(found, key=lambda one: (len(one[0].turned), one[0].cost))
            return way.turn_back(change)
    return None


class _Way:
    """From an event towards one benign target."""

    def __init__(self, event: Measured, target: Row, tools: tuple[Space, Spread]) -> None:
        self._from, self._to = event.values, target
        around, spread = tools
        self._around = around
        sigmas = np.abs(spread.sigmas(event.values, target))
        differs = event.present & (event.values != target)
        columns = {number: [c for c in knob.columns if differs[c]] for number, knob in enumerate(KNOBS)}
        self._columns = {number: found for number, found in columns.items() if found}
        self._costs = {number: float(max(sigmas[found])) for number, found in self._columns.items()}
        self._pool = _Pool([around.crowd(v) for v in around.embed(np.stack([self._from, self._to]))])

    def find(self, *, verdicts: bool) -> Change | None:
        """The change by this target, without what is not needed; None where there is none."""
        usable = [number for number in self._costs if verdicts or not KNOBS[number].verdict]
        reached = self._go(usable)
        return None if reached is None else self._confirmed(reached, self._take_back)

    def _changes(self, several: Sequence[Turned]) -> NDArray[np.float32]:
        """The event (n, 144) by n ways of turning knobs. In between, numbers are mixed on the logarithmic scale."""
        changed = np.repeat(self._from[None], len(several), axis=0)
        for row, turned in zip(changed, several, strict=True):
            for number, share in turned.items():
                columns = self._columns[number]
                row[columns] = _between(self._from[columns], self._to[columns], share)
        return settle(self._from, changed)

    def _try(self, turned: Turned) -> Change | None:
        """The change, where the index says that most of its neighbours are benign."""
        (values,) = self._changes([turned])
        crowd = self._around.crowd(self._around.embed(values[None])[0])
        self._pool.learn(crowd)
        if not crowd.mostly_benign:
            return None
        cost = sum(self._costs[number] * turned[number] for number in sorted(turned))
        return Change(values, dict(turned), crowd, cost)

    def _go(self, usable: Sequence[int]) -> Change | None:
        """Turn the knob that helps most, then the next, until the neighbours are mostly benign."""
        turned: dict[int, float] = {}
        surprises = 0
        while left := [number for number in usable if number not in turned]:
            vectors = self._around.embed(self._changes([{**turned, number: 1.0} for number in left]))
            best = self._pool.best(vectors)
            turned[left[best]] = 1.0
            if self._pool.expects_benign(vectors[best]) or len(left) == 1:
                change = self._try(turned)
                surprises += 1
                if change is not None or surprises > MOST_LEARNED:
                    return change
        return None

    def turn_back(self, change: Change) -> Change:
        """With each knob turned no farther than needed, in steps of an eighth."""
        return self._confirmed(change, self._shorten)

    def _confirmed(self, change: Change, lessen: Callable[[Turned], Turned]) -> Change:
        """A lesser change that the index confirms; where it does not, who is near is learned, and it is tried again."""
        for _ in range(MOST_LEARNED):
            turned = lessen(change.turned)
            if turned == change.turned:
                return change
            tried = self._try(turned)
            if tried is not None:
                return tried
        return change

    def _expects(self, turned: Turned) -> bool:
        return self._pool.expects_benign(self._around.embed(self._changes([turned]))[0])

    def _take_back(self, turned: Turned) -> Turned:
        """Without the knobs that seem not to be needed; the farthest is tried first."""
        for number in self._farthest_first(turned):
            without = {other: share for other, share in turned.items() if other != number}
            if without and self._expects(without):
                turned = without
        return turned

    def _shorten(self, turned: Turned) -> Turned:
        for number in self._farthest_first(turned):
            if not set(KNOBS[number].columns).isdisjoint(NOMINAL):
                continue  # there is no half way from port 22 to port 443
            low, high = 0.0, 1.0
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                low, high = (low, middle) if self._expects({**turned, number: middle}) else (middle, high)
            turned = {**turned, number: high}
        return turned

    def _farthest_first(self, turned: Turned) -> list[int]:
        return sorted(turned, key=lambda number: (-self._costs[number], number))


def _between(here: Row, there: Row, share: float) -> Row:
    """Values on the way from `here` to `there`, on the logarithmic scale."""
    if share >= 1:
        return there
    low, high = signed_log(here), signed_log(there)
    mixed = low + (high - low) * share
    return np.asarray(np.sign(mixed) * np.expm1(np.abs(mixed)), np.float32)


class _Pool:
    """Events met on the way, to guess with who would be near without asking the index each time."""

    def __init__(self, crowds: Sequence[Crowd]) -> None:
        self._vectors = np.concatenate([crowd.vectors for crowd in crowds])
        self._benign = np.concatenate([crowd.benign for crowd in crowds])

    def learn(self, crowd: Crowd) -> None:
        """Take in the events of a crowd."""
        self._vectors = np.concatenate([self._vectors, crowd.vectors])
        self._benign = np.concatenate([self._benign, crowd.benign])

    def best(self, vectors: NDArray[np.float32]) -> int:
        """The number of the vector that is nearest to benign events and farthest from others."""
        distances = self._distances(vectors)
        benign, others = distances[:, self._benign], distances[:, ~self._benign]
        return int(np.argmin(_mean_of_nearest(benign) - _mean_of_nearest(others)))

    def expects_benign(self, vector: NDArray[np.float32]) -> bool:
        """Whether most of the nearest known events are benign."""
        nearest = np.argsort(self._distances(vector[None])[0], kind="stable")[:NEIGHBOURS]
        return int(np.count_nonzero(self._benign[nearest])) >= MAJORITY

    def _distances(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        differences = vectors[:, None].astype(np.float64) - self._vectors[None]
        return np.asarray(np.sqrt(np.einsum("ijk,ijk->ij", differences, differences)))


def _mean_of_nearest(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the `MAJORITY` smallest of each row, 0 where there are none; (n,)."""
    if not distances.shape[1]:
        return np.zeros(len(distances))
    return np.asarray(np.sort(distances, axis=1)[:, :MAJORITY].mean(axis=1))
