"""The part of `appia verify` that is about what others said: remarks of analysts, decisions of firewalls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.cli.output import counted
from services.common.decisions.follower import DecisionFollower
from services.common.feedback.follower import FeedbackFollower

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.common.days.names import StateNames
    from services.common.rest.log_keys import LogKeys


@dataclass(frozen=True)
class Log:
    """What one log holds: `noun` names one entry of it."""

    name: str
    noun: str
    count: int
    faults: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """For people; none where nothing was ever said."""
        if self.faults or self.count:
            verdict = counted(len(self.faults), "fault") if self.faults else "whole"
            yield f"{self.name}: {verdict}; {counted(self.count, self.noun)}"
        yield from (f"  {fault}" for fault in self.faults)


@dataclass(frozen=True)
class Said:
    """The logs of one state directory, read whole."""

    feedback: Log
    decisions: Log

    @classmethod
    def of(cls, names: StateNames, keys: LogKeys) -> Said:
        """Read both. Blocks for the reading.

        Raises:
            OSError: a folder cannot be listed.
        """
        remarks, decided = FeedbackFollower(names, keys), DecisionFollower(names, keys)
        remarks.poll()
        decided.poll()
        return cls(
            Log("feedback", "remark", len(remarks.book), remarks.faults),
            Log("decisions of firewalls", "decision", len(decided.page), decided.faults),
        )

    @property
    def faults(self) -> tuple[str, ...]:
        """One sentence each."""
        return (*self.feedback.faults, *self.decisions.faults)

    def lines(self) -> Iterator[str]:
        """For people."""
        yield from self.feedback.lines()
        yield from self.decisions.lines()


def said_as_plain(said: Sequence[Said]) -> dict[str, Any]:
    """Plain values over several state directories; nothing where none was looked at."""
    if not said:
        return {}
    remarks, decisions = [one.feedback for one in said], [one.decisions for one in said]
    return {
        "feedback": {"remarks": sum(one.count for one in remarks), "faults": _faults(remarks)},
        "decisions": {"decisions": sum(one.count for one in decisions), "faults": _faults(decisions)},
    }


def _faults(logs: Sequence[Log]) -> list[str]:
    return [fault for log in logs for fault in log.faults]
