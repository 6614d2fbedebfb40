"""What a torture suite is: something done in numbered rounds, each of which a seed makes happen again."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

FAULTS_KEPT = 50


@dataclass(frozen=True)
class Budget:
    """How much to do, with which luck, and where.

    `folder` is empty, belongs to this run and is removed after it. `until` is on the monotonic clock, in seconds; a
    suite ends after the round that passes it, and with `is_fault_enough` after the first that broke a promise.
    """

    seed: int
    folder: Path
    rounds: int
    first: int = 0
    until: float = float("inf")
    is_fault_enough: bool = False

    def numbers(self, outcome: Outcome) -> Iterator[int]:
        """The numbers of the rounds to do, as long as there is time; `outcome` is what they have come to so far."""
        for number in range(self.first, self.first + self.rounds):
            if number > self.first and (time.monotonic() >= self.until or self._is_enough(outcome)):
                return
            yield number

    def _is_enough(self, outcome: Outcome) -> bool:
        return self.is_fault_enough and outcome.broken > 0

    def random(self, number: int) -> random.Random:
        """The luck of one round: the same for the same seed and number, wherever the run began."""
        return random.Random(f"{self.seed}/{number}")


@dataclass(frozen=True)
class Fault:
    """A promise that was broken in one round."""

    round: int
    sentence: str


@dataclass
class Outcome:
    """What a run of a suite came to. `facts` are counts that show it did what it says; those of slices are added up."""

    rounds: int = 0
    faults: list[Fault] = field(default_factory=list)
    broken: int = 0
    facts: dict[str, int] = field(default_factory=dict)

    def fault(self, number: int, sentence: str) -> None:
        """Note a broken promise; of very many only the first are kept, all are counted."""
        self.broken += 1
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append(Fault(number, sentence))

    def count(self, fact: str, by: int = 1) -> None:
        """Add to a fact."""
        self.facts[fact] = self.facts.get(fact, 0) + by

    def highest(self, fact: str, value: int) -> None:
        """Keep the highest value of a fact, whose name begins with "slowest": it is not added up."""
        self.facts[fact] = max(self.facts.get(fact, 0), value)

    def add(self, rounds: int, faults: list[Fault], broken: int, facts: Mapping[str, int]) -> None:
        """Add what a later slice came to."""
        self.rounds += rounds
        self.broken += broken
        self.faults += faults[: FAULTS_KEPT - len(self.faults)]
        for fact, by in facts.items():
            (self.highest if fact.startswith("slowest") else self.count)(fact, by)


@dataclass(frozen=True)
class Suite:
    """One kind of torture.

    `run` does the rounds of its budget and gives the outcome; it raises nothing for a broken promise. `weight` is the
    share of the time that it gets beside the others in a long run.
    """

    name: str
    promise: str  # one line: what must hold
    unit: str  # what one round is
    ci_rounds: int
    full_rounds: int
    run: Callable[[Budget], Outcome]
    weight: float = 1.0
