"""Rules, readings and times for the tests of alerts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from services.health.alerts.rules_file import parse_rules
from services.health.readings import SIGNALS, Reading, Readings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.health.alerts.courier import Addressed
    from services.health.alerts.rules import Rules

NS = 1_000_000_000
NOON_NS = 1_795_176_000 * NS
"""2026-11-20 12:00:00 UTC, a Friday."""

HOOK = '[channel.hook]\nurl = "json://localhost:9/"\n'
MINE = "defaults = false\n" + HOOK
DISK = MINE + '[[rule]]\nname = "disk"\nsignal = "disk_used_percent"\nabove = 85\n'


def rules_of(text: str) -> Rules:
    return parse_rules(text.encode(), Path("/etc/appia/alerts.toml"), SIGNALS)


def disk(value: float, subject: str = "/data") -> Readings:
    return Readings((Reading.of("disk_used_percent", subject, value, f"{subject} is {value:g} % full"),))


def forged(count: float) -> Readings:
    return Readings((Reading.of("forged_frames", "ingester", count, f"{count:g} frames"),))


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.ns = NOON_NS

    def __call__(self) -> int:
        return self.ns

    def pass_s(self, seconds: float) -> int:
        self.ns += int(seconds * NS)
        return self.ns


class Post:
    """A sender that delivers or fails as a test says, and notes what arrived."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, str, str]] = []  # channel, id, title
        self.bodies: list[str] = []
        self.down: dict[str, str] = {}
        self.refuses: set[str] = set()
        self.tries = 0
        self.dies_after: int | None = None

    def send(self, parcels: Sequence[Addressed], told: Callable[[str, str], None]) -> str:
        for addressed in parcels:
            parcel, failures = addressed.parcel, 0
            for letter in parcel.letters:
                self.tries += 1
                why = self.down.get(parcel.channel, "refused" if letter.id in self.refuses else "")
                if not why:
                    self.arrived.append((parcel.channel, letter.id, letter.title))
                    self.bodies.append(letter.body)
                if self.dies_after is not None and self.tries >= self.dies_after:
                    return "killed"
                told(letter.id, why)
                failures = failures + 1 if why else 0
                if why and (failures > 1 or letter.id not in parcel.overtakable):
                    break
        return ""

    def stop(self) -> None:
        pass


class Log:
    """What was reported."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Mapping[str, object]]] = []

    def __call__(self, event: str, facts: Mapping[str, object]) -> None:
        self.lines.append((event, facts))

    def named(self, event: str) -> list[Mapping[str, object]]:
        return [facts for name, facts in self.lines if name == event]
