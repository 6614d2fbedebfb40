"""All decisions in the order in which they were taken in, found by address, and what was known of them at a moment."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from services.common.decisions.decision import Effect, effect_of
from services.common.events.parse import NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.common.decisions.record import Taken

DECISION = np.dtype(
    [
        ("address", "S16"),  # as `columns.pack_address`; numpy compares and orders all 16 bytes of it
        ("time_ns", "<i8"),  # when it was decided, nanoseconds since 1970
        ("until_ns", "<i8"),  # when it ends by itself; the same as `time_ns` for what is surely no block
        ("number", "<i8"),  # in the order of taking in
        ("words", "<u4"),  # number of its `Words`
        ("confidence", "<f4"),  # 0 to 1; 0 where none was given
        ("kind", "u1"),  # DetectionType
        ("effect", "u1"),  # Effect
    ]
)
_MAPPED = b"\x00" * 10 + b"\xff\xff"  # before an IPv4 address in 16 bytes (RFC 4291, 2.5.5.2)
_LIMIT_NS = np.iinfo(np.int64).max
_NONE = np.zeros(0, DECISION)


class Words(NamedTuple):
    """What a decision says in texts, and whether it named how long it holds."""

    action: str
    reason: str
    origin: str
    names_duration: bool


@dataclass(frozen=True)
class Spans:
    """Stretches of time that do not touch, ascending: first and last nanosecond of each, int64 (n,)."""

    firsts: NDArray[np.int64]
    lasts: NDArray[np.int64]

    def hold(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some times lie in one of them."""
        if not len(self.firsts):
            return np.zeros(len(times), bool)
        at = np.searchsorted(self.firsts, times, "right") - 1
        return np.asarray((at >= 0) & (times <= self.lasts[at]), bool)


def _merged(firsts: NDArray[np.int64], lasts: NDArray[np.int64]) -> Spans:
    """Stretches that may overlap, ordered by their firsts, as those that do not."""
    lasts = np.maximum.accumulate(lasts)
    begins = np.r_[True, firsts[1:] > lasts[:-1]] if len(firsts) else np.zeros(0, bool)
    ends = np.r_[begins[1:], True] if len(firsts) else begins
    return Spans(firsts[begins], lasts[ends])


@dataclass(frozen=True)
class Run:
    """Some decisions, DECISION (n,), ordered by address, time and number. Never changes."""

    rows: NDArray[np.void]

    @classmethod
    def of(cls, rows: NDArray[np.void]) -> Run:
        """Decisions in any order."""
        return cls(rows[np.lexsort((rows["number"], rows["time_ns"], rows["address"]))])

    def at(self, address: bytes) -> NDArray[np.void]:
        """The decisions on one address (16 bytes)."""
        wanted = np.array([address], "S16")
        first, stop = (np.searchsorted(self._addresses, wanted, side)[0] for side in ("left", "right"))
        return self.rows[first:stop]

    @cached_property
    def _addresses(self) -> NDArray[np.bytes_]:
        return np.ascontiguousarray(self.rows["address"])

    @cached_property
    def distinct(self) -> NDArray[np.bytes_]:
        """Every address once, S16, ascending."""
        return np.unique(self._addresses)

    @cached_property
    def times(self) -> NDArray[np.int64]:
        """The time of every decision, int64, ascending."""
        return np.sort(self.rows["time_ns"])

    def around(self, within_ns: int) -> Spans:
        """The spans of time that lie at most so far before or after a decision."""
        return _merged(self.times - within_ns, self.times + within_ns)


@dataclass(frozen=True)
class Page:
    """What was known at one moment: the decisions numbered from `first` up to `end`. Never changes; for any thread."""

    runs: tuple[Run, ...] = ()
    words: Sequence[Words] = ()
    first: int = 0
    end: int = 0

    def __len__(self) -> int:
        return sum(len(run.rows) for run in self.runs)

    def of(self, address: bytes) -> NDArray[np.void]:
        """The decisions on one address (16 bytes), DECISION (n,), ordered by time and number."""
        found = [rows for run in self.runs if len(rows := run.at(address))]
        if len(found) < 2:
            return found[0] if found else _NONE
        rows = np.concatenate(found)
        return rows[np.lexsort((rows["number"], rows["time_ns"]))]

    def known_among(self, addresses: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Which of some addresses, uint8 (n, 16), there are decisions on: their places, int64, ascending."""
        texts = np.ascontiguousarray(addresses).view("S16").reshape(-1)
        known = np.zeros(len(texts), bool)
        for run in self.runs:
            at = np.searchsorted(run.distinct, texts)
            at[at == len(run.distinct)] = 0
            known |= run.distinct[at] == texts
        return np.flatnonzero(known)

    def around(self, within_ns: int) -> Spans:
        """The spans of time that lie at most so far before or after a decision."""
        spans = [run.around(within_ns) for run in self.runs]
        if not spans:
            return Spans(np.zeros(0, np.int64), np.zeros(0, np.int64))
        firsts = np.concatenate([one.firsts for one in spans])
        order = np.argsort(firsts, kind="stable")
        return _merged(firsts[order], np.concatenate([one.lasts for one in spans])[order])

    def numbers_about(self, since_ns: int, until_ns: int) -> tuple[int, int]:
        """The least and the greatest number of the decisions that may say anything about this span; (0, -1) for none.

        Every release before its end is one of them: it may end a block. As numbers ascend and only the oldest go, the
        same two numbers stand for the same decisions.
        """
        found = [
            rows["number"][
                (rows["time_ns"] <= until_ns)
                & ((rows["until_ns"] >= since_ns) | (rows["effect"] == Effect.RELEASES))
            ]
            for rows in (run.rows for run in self.runs)
        ]
        numbers = np.concatenate([np.zeros(0, np.int64), *found])
        return (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, -1)

    def between(self, first: int, end: int) -> Page:
        """What was known when there were only the decisions numbered from `first` up to `end`."""
        if (first, end) == (self.first, self.end):
            return self
        kept = (run.rows[(run.rows["number"] >= first) & (run.rows["number"] < end)] for run in self.runs)
        return Page(tuple(Run(rows) for rows in kept if len(rows)), self.words, first, end)


@dataclass
class Book:
    """Grows by one thread; its pages may be read by any at the same time.

    Decisions lie in runs whose sizes grow geometrically, about 60 bytes a decision and what its texts take once each.
    """

    runs: list[Run] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)
    first: int = 0
    end: int = 0
    _numbers: dict[Words, int] = field(default_factory=dict)

    def add(self, groups: Sequence[tuple[int, Taken]]) -> None:
        """Add groups of decisions, each with the number of its first one; numbers ascend."""
        rows: list[tuple[object, ...]] = []
        for first, taken in groups:
            rows += self._rows(first, taken)
            self.end = first + len(taken.decisions)
        if not rows:
            return
        run = Run.of(np.array(rows, DECISION))
        while self.runs and len(self.runs[-1].rows) < 2 * len(run.rows):
            run = Run.of(np.concatenate((self.runs.pop().rows, run.rows)))
        self.runs.append(run)

    def forget(self, first: int) -> None:
        """Let go of the decisions before a number, and of texts that nothing says any more."""
        if first <= self.first:
            return
        self.first = first
        kept = [run.rows[run.rows["number"] >= first] for run in self.runs]
        rows = np.concatenate(kept) if kept else _NONE
        said, places = np.unique(rows["words"], return_inverse=True)
        rows["words"] = places
        # A new list: pages that are in use go on reading the one before.
        self.words = [self.words[number] for number in said.tolist()]
        self._numbers = {words: number for number, words in enumerate(self.words)}
        self.runs = [Run.of(rows)] if len(rows) else []

    def page(self) -> Page:
        """What is known now."""
        return Page(tuple(self.runs), self.words, self.first, self.end)

    def _rows(self, first: int, taken: Taken) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        for number, one in enumerate(taken.decisions, first):
            effect = effect_of(one.action)
            may_block = effect in {Effect.BLOCKS, Effect.UNSAID}
            lasts_s = (one.duration_seconds or taken.default_s) if may_block else 0
            words = Words(one.action, one.description, taken.origin, bool(one.duration_seconds))
            rows.append(
                (
                    _packed(one.src_ip),
                    one.timestamp,
                    min(one.timestamp + lasts_s * NANOSECONDS, _LIMIT_NS),
                    number,
                    self._numbers.setdefault(words, len(self._numbers)),
                    one.confidence,
                    one.type,
                    effect,
                )
            )
            if len(self._numbers) > len(self.words):
                self.words.append(words)
        return rows


def _packed(address: str) -> bytes:
    """The 16 bytes of an address in its canonical spelling, as `columns.pack_address`, in a tenth of the time."""
    if ":" in address:
        return socket.inet_pton(socket.AF_INET6, address)
    return _MAPPED + socket.inet_pton(socket.AF_INET, address)
