"""The report of a long run: a table in Markdown that is written anew after each slice, so that a kill loses nothing."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from torture.suite import Outcome

if TYPE_CHECKING:
    from torture.suite import Suite

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Report:
    """What each suite has come to so far."""

    path: Path
    seed: int
    suites: list[Suite]
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    _next: dict[str, int] = field(default_factory=dict)

    def rounds(self, name: str) -> int:
        """Rounds of a suite that were tried, also those that a crash of their slice took along."""
        return max(self._next.get(name, 0), self.outcomes.get(name, Outcome()).rounds)

    def next_round(self, name: str) -> int:
        """The number of the first round not done yet."""
        return self._next.get(name, 0)

    def add(self, name: str, outcome: Outcome, seconds: float) -> None:
        """Add a slice. One in which nothing was done counts as a round, so that the run goes on behind it."""
        total = self.outcomes.setdefault(name, Outcome())
        total.add(outcome.rounds, outcome.faults, outcome.broken, outcome.facts)
        self._next[name] = self._next.get(name, 0) + max(outcome.rounds, 1)
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        for fault in outcome.faults:
            print(f"BROKEN {name}, seed {self.seed}, round {fault.round}: {fault.sentence}", flush=True)

    def write(self, elapsed_s: float) -> None:
        """Write the report file."""
        lines = [
            f"# Torture, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "",
            (
                f"Seed {self.seed}; commit {_commit()}; {elapsed_s / 3600:.2f} hours so far; "
                f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}."
            ),
            "",
            "| suite | promise | rounds | of | broken | minutes | facts |",
            "| --- | --- | ---: | ---: | ---: | ---: | --- |",
            *(self._row(suite) for suite in self.suites),
            "",
        ]
        for name, outcome in self.outcomes.items():
            lines += [f"- {name}, round {fault.round}: {fault.sentence}" for fault in outcome.faults]
        self.path.write_text("\n".join(lines) + "\n", "utf-8")

    def _row(self, suite: Suite) -> str:
        outcome = self.outcomes.get(suite.name, Outcome())
        facts = ", ".join(f"{fact} {count:,}" for fact, count in sorted(outcome.facts.items()))
        minutes = self.seconds.get(suite.name, 0.0) / 60
        return (
            f"| {suite.name} | {suite.promise} | {outcome.rounds:,} {suite.unit} | {suite.full_rounds:,} "
            f"| {outcome.broken} | {minutes:.1f} | {facts} |"
        )

    def finish(self, elapsed_s: float) -> int:
        """Write the last state and print it; 1 when a promise was broken."""
        self.write(elapsed_s)
        print(self.path.read_text("utf-8"))
        return int(any(outcome.broken for outcome in self.outcomes.values()))


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 - whichever git the developer has
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
