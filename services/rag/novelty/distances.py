"""How far the vectors of a day are from everything before them, kept for the next question.

Work that the end of a question's time interrupts is kept too, day by day, so that asking again goes on from there.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.batch_nearest import nearest_distances
from services.rag.novelty.within import distances_within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from services.common.days.vectors import VectorIndex
    from services.common.rpc import Deadline
    from services.rag.novelty.spaces import First, Space

KEPT_BYTES = 64 << 20
"""What is kept for the next question, at most; beyond that, what was not asked for longest goes."""
_WAIT_S = 0.05
AT_THEIR_TIME, DAYS_BEFORE = "at their time", "days before"


class OutOfTime(Exception):  # noqa: N818 - it is no fault: the question is answered with what there is
    """The time of a question is nearly over."""


@dataclass(frozen=True)
class Clock:
    """Ends work in time."""

    deadline: Deadline
    half: float = math.inf  # on the monotonic clock, seconds

    @classmethod
    def until(cls, deadline: Deadline) -> Clock:
        """One that starts now."""
        now = time.monotonic()
        return cls(deadline, now + (deadline.at - now) / 2)

    @property
    def is_half_over(self) -> bool:
        """Whether more than half of the time went by."""
        return time.monotonic() >= self.half

    def check(self) -> None:
        """Do nothing while there is time. Raises `OutOfTime`."""
        if self.deadline.is_near:
            raise OutOfTime


@dataclass
class _Work:
    """Distances that are being found: those of a space from some other spaces, one after the other."""

    made_from: tuple[weakref.ref[VectorIndex], ...]
    values: NDArray[np.float32]
    followed: NDArray[np.int64]  # items whose distance may still be above the floor
    floor: float  # distances below are bounds: the true ones are not larger
    compared: int = 0  # how many of the other spaces are done
    lock: threading.Lock = field(default_factory=threading.Lock)

    def advance(self, space: Space, others: Sequence[Space], clock: Clock) -> None:
        """Compare with the rest of `others`. Raises `OutOfTime`; what was done by then stays done."""
        while self.compared < len(others):
            queries = space.take(self.followed)
            nearest = self.values[self.followed]
            for index in others[self.compared].vectors:
                nearest = np.minimum(nearest, nearest_distances(index, queries, clock.check))
            self.values[self.followed] = nearest
            self.followed = self.followed[nearest > self.floor]
            self.compared += 1

    def is_of(self, vectors: Sequence[VectorIndex]) -> bool:
        """Whether it was made from exactly these."""
        return len(vectors) == len(self.made_from) and all(
            known() is given for known, given in zip(self.made_from, vectors, strict=True)
        )

    @property
    def nbytes(self) -> int:
        """What it takes."""
        return self.values.nbytes + self.followed.nbytes


class Distances:
    """Finds distances, and keeps what cannot change. Safe for several threads."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        """Keep at most `kept_bytes`."""
        self._kept_bytes = kept_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ...], _Work] = OrderedDict()

    def at_their_time(
        self, space: Space, first: First, others: Sequence[Space], clock: Clock
    ) -> NDArray[np.float32]:
        """For each item the distance from everything before it: the days before, and its own day until it came.

        Exact for the farthest tenth of the day's events; bounds for the others, which are not larger in truth.

        Args:
            space: the day.
            first: when each of its items came first.
            others: the days before, newest first.
            clock: ends the work.

        Returns:
            float32 (items,), not to be written to; 0 where nothing came before.

        Raises:
            OutOfTime: the time is nearly over. Asked again, it goes on where it was.
        """

        def begin() -> _Work:
            values, exact = distances_within(space, first.times, clock.check)
            return _Work(_made_from(space, others), values, exact, 0.0)

        return self._finished(_Wanted(AT_THEIR_TIME, space, others, 0.0), clock, begin)

    def from_days_before(
        self, space: Space, others: Sequence[Space], floor: float, clock: Clock
    ) -> NDArray[np.float32]:
        """For each item the distance from everything on the days before, exact where it is above `floor`.

        Arguments, answer and `OutOfTime` as of `at_their_time`; below the floor are bounds. Without days before all are
        infinite.
        """

        def begin() -> _Work:
            values = np.full(space.items, np.inf, np.float32)
            return _Work(_made_from(space, others), values, np.arange(space.items), floor)

        return self._finished(_Wanted(DAYS_BEFORE, space, others, floor), clock, begin)

    def _finished(self, wanted: _Wanted, clock: Clock, begin: Callable[[], _Work]) -> NDArray[np.float32]:
        work = self._find(wanted)
        if work is None:
            work = begin()
            self._keep(wanted, work)
        while not work.lock.acquire(timeout=_WAIT_S):
            clock.check()
        try:
            work.advance(wanted.space, wanted.others, clock)
        finally:
            work.lock.release()
        return work.values

    def _find(self, wanted: _Wanted) -> _Work | None:
        with self._lock:
            work = self._kept.get(wanted.key)
            if work is None or work.floor > wanted.floor or not work.is_of(wanted.vectors):
                return None
            self._kept.move_to_end(wanted.key)
            return work

    def _keep(self, wanted: _Wanted, work: _Work) -> None:
        if not all(space.lasting for space in (wanted.space, *wanted.others)):
            return
        with self._lock:
            self._kept[wanted.key] = work
            self._kept.move_to_end(wanted.key)
            while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > self._kept_bytes:
                self._kept.popitem(last=False)

    @property
    def nbytes(self) -> int:
        """What is kept now."""
        with self._lock:
            return sum(work.nbytes for work in self._kept.values())


@dataclass(frozen=True)
class _Wanted:
    """Which distances are asked for."""

    kind: str
    space: Space
    others: Sequence[Space]
    floor: float

    @property
    def key(self) -> tuple[str, ...]:
        return self.kind, self.space.index, self.space.day, self.space.model_id

    @property
    def vectors(self) -> list[VectorIndex]:
        return [index for space in (self.space, *self.others) for index in space.vectors]


def _made_from(space: Space, others: Sequence[Space]) -> tuple[weakref.ref[VectorIndex], ...]:
    return tuple(weakref.ref(index) for one in (space, *others) for index in one.vectors)
