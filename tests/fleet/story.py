"""A story: steps one after the other, what each was to show, and whether it did."""

from __future__ import annotations

import fnmatch
import sys
import time
from dataclasses import dataclass, field
from subprocess import CalledProcessError, TimeoutExpired
from typing import TYPE_CHECKING, Any, TextIO

from services.common.errors import AppiaError

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
    """Does steps and remembers them. A step that breaks off ends the story, whose end is told all the same."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        """Nothing is done yet; `out` gets a line for each step and check."""
        self.done: list[Done] = []
        self._out = out
        self._began = time.monotonic()

    def tell(self, steps: Sequence[Step]) -> bool:
        """Do the steps; gives whether all of them were done to their end."""
        return all(self._do(step) for step in steps)

    def _do(self, step: Step) -> bool:
        done = Done(step, time.time())
        self.done.append(done)
        self._say(f"[{time.monotonic() - self._began:6.1f} s] {step.name}")
        try:
            for check in step.do():
                self._note(done, check)
        except (AppiaError, OSError, CalledProcessError, TimeoutExpired, ValueError) as error:
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
    """An alert that health raised, and the step in which it began."""

    alert: Alert
    at: float
    step: str


def raised(done: Sequence[Done], told: Mapping[str, Mapping[str, Any]]) -> list[Raised]:
    """Every alert that fired, as health of each site (`told`, by site) tells it, in the order of time."""
    found = []
    for site, alerts in told.items():
        for one in (*alerts.get("firing", ()), *alerts.get("ending", ()), *alerts.get("recent", ())):
            if not one["fired_ns"]:
                continue  # it was over before it had lasted long enough
            at = one["since_ns"] / NS
            began = [part.step.name for part in done if part.begin <= at]
            found.append(Raised(Alert(site, one["rule"], one["subject"]), at, began[-1] if began else ""))
    return sorted(found, key=lambda one: one.at)


def alert_checks(done: Sequence[Done], found: Sequence[Raised]) -> list[tuple[str, Check]]:
    """For each step whether the alerts were raised that it expects, and no others."""
    checks = []
    for part in done:
        own = [one.alert for one in found if one.step == part.step.name]
        for wanted in part.step.expected:
            count = sum(wanted.fits(one) for one in own)
            what = f"alert {wanted.rule} about {wanted.subject} at site {wanted.site}"
            checks.append((part.step.name, Check(what, count > 0, f"raised {count} times")))
        for one in own:
            if not any(wanted.fits(one) for wanted in (*part.step.expected, *part.step.allowed)):
                what = f"no alert {one.rule} about {one.subject} at site {one.site}"
                checks.append((part.step.name, Check(what, held=False, seen="raised")))
    return checks
