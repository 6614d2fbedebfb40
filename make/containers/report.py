"""What was run, how long it took and what was seen, as Markdown."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Failed(Exception):  # noqa: N818 - it says what is the case
    """A step did not do what it should; the sentence says what was seen."""


@dataclass
class Step:
    """One step; `seen` is told by the step itself."""

    what: str
    seconds: float = 0.0
    seen: str = ""
    failed: bool = False


@dataclass
class Report:
    """Steps in their order, each printed when it ends."""

    steps: list[Step] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether any step failed."""
        return any(step.failed for step in self.steps)

    @contextmanager
    def step(self, what: str) -> Iterator[Step]:
        """Take the time of a step. A failure ends all, after it is told."""
        step, began = Step(what), time.monotonic()
        self.steps.append(step)
        try:
            yield step
        except Failed as failure:
            step.failed, step.seen = True, str(failure)
            raise
        finally:
            step.seconds = time.monotonic() - began
            state = "FAILED" if step.failed else "ok"
            print(f"[{step.seconds:6.1f} s] {state}: {what}{step.seen and ': '}{step.seen}", flush=True)

    def rows(self) -> list[str]:
        """The steps as rows of a table."""
        return [
            f"| {step.what} | {step.seconds:.1f} | {'**failed** ' if step.failed else ''}{step.seen} |"
            for step in self.steps
        ]

    def to_markdown(self, heading: str, lines: list[str]) -> str:
        """The whole report; `lines` say on what and how it was made."""
        table = ["| step | seconds | seen |", "| --- | --- | --- |", *self.rows()]
        left = ["## Not run", "", *(f"- {one}" for one in self.not_run)]
        return "\n".join([f"# {heading}", "", *lines, "", *table, "", *left, ""])
