"""A story: steps one after the other, what each was to show, and whether it did."""

from __future__ import annotations

import fnmatch
import sys
import time
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

NS = 1e9


@dataclass(frozen=True)
class Check:
    """One thing that was to hold, whether it did, and what was seen."""

    what: str
    held: bool
    seen: str = ""


@dataclass(frozen=True)
class Alert:
    """An alert of one site, by its rule and subject; either may be a pattern where it is expected."""

    site: str
    rule: str
    subject: str = "*"

    def fits(self, other: Alert) -> bool:
        """Whether `other` is one of those that this one stands for."""
        pairs = ((self.site, other.site), (self.rule, other.rule), (self.subject, other.subject))
        return all(fnmatch.fnmatchcase(theirs, pattern) for pattern, theirs in pairs)


@dataclass(frozen=True)
class Step:
    """One step as it is told.

    Attributes:
        name: A few words.
        expected: Alerts that have to be raised during it.
        allowed: Alerts that may be: whether somebody looks at the right moment decides.
    """

    name: str
    do: Callable[[], Iterable[Check]]
    expected: tuple[Alert, ...] = ()
    allowed: tuple[Alert, ...] = ()


@dataclass
class Done:
    """What became of a step; times in seconds since 1970."""

    step: Step
    begin: float
    end: float = 0.0
    checks: list[Check] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether all of it was as it should be."""
        return all(check.held for check in self.checks)


class Story:
    """Does steps and remembers them. A step that breaks off ends the story, but not what is done at any end."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        """Nothing is done yet; `out` gets a line for each step and check."""
        self.done: list[Done] = []
        self._out = out
        self._began = time.monotonic()

    def tell(self, steps: Sequence[Step]) -> bool:
        """Do the steps; gives whether all of them were done to their end."""
        return all(self._do(step) for step in steps)

    def tell_all(self, steps: Sequence[Step]) -> None:
        """Do every one of the steps, whatever becomes of those before it."""
        for step in steps:
            self._do(step)

    def _do(self, step: Step) -> bool:
        done = Done(step, time.time())
        self.done.append(done)
        self._say(f"[{time.monotonic() - self._began:6.1f} s] {step.name}")
        try:
            for check in step.do():
                self._note(done, check)
        except Exception as error:  # noqa: BLE001 - one run tells everything, also of faults in the steps themselves
            self._note(done, Check("done to its end", held=False, seen=f"{type(error).__name__}: {error}"))
            return False
        finally:
            done.end = time.time()
        return True

    def _note(self, done: Done, check: Check) -> None:
        done.checks.append(check)
        self._say(
            f"           {'ok  ' if check.held else 'FAIL'} {check.what}{check.seen and f': {check.seen}'}"
        )

    def _say(self, line: str) -> None:
        self._out.write(f"{line}\n")
        self._out.flush()


@dataclass(frozen=True)
class Raised:
    """An alert that health raised, and the step in which it began.

    Attributes:
        at: Since when its rule's condition held.
        fired: When that had lasted long enough to be an alert.
        over: When it ended; endless while it fires.
    """

    alert: Alert
    at: float
    step: str
    fired: float
    over: float = inf

    def is_told_in(self, part: Done) -> bool:
        """Whether it fired at some moment of a step: one may begin before, and one that fires begins no second time."""
        return self.fired <= part.end and self.over >= part.begin


def raised(done: Sequence[Done], told: Mapping[str, Mapping[str, Any]]) -> list[Raised]:
    """Every alert that fired, as health of each site (`told`, by site) tells it, in the order of time."""
    found = []
    for site, alerts in told.items():
        for one in (*alerts.get("firing", ()), *alerts.get("ending", ()), *alerts.get("recent", ())):
            if not one["fired_ns"]:
                continue  # it was over before it had lasted long enough
            at = one["since_ns"] / NS
            began = [part.step.name for part in done if part.begin <= at]
            alert, over_ns = Alert(site, one["rule"], one["subject"]), one.get("over_ns", 0)
            times = (one["fired_ns"] / NS, over_ns / NS if over_ns else inf)
            found.append(Raised(alert, at, began[-1] if began else "", *times))
    return sorted(found, key=lambda one: one.at)


def alert_checks(done: Sequence[Done], found: Sequence[Raised]) -> list[tuple[str, Check]]:
    """For each step whether the alerts fired in it that it expects, and no others began."""
    checks = []
    for part in done:
        own = [one.alert for one in found if one.step == part.step.name]
        told = [one.alert for one in found if one.is_told_in(part)]
        for wanted in part.step.expected:
            count = sum(wanted.fits(one) for one in told)
            what = f"alert {wanted.rule} about {wanted.subject} at site {wanted.site}"
            checks.append((part.step.name, Check(what, count > 0, f"raised {count} times")))
        for one in own:
            if not any(wanted.fits(one) for wanted in (*part.step.expected, *part.step.allowed)):
                what = f"no alert {one.rule} about {one.subject} at site {one.site}"
                checks.append((part.step.name, Check(what, held=False, seen="raised")))
    return checks
