"""A change of the live configuration as a tuning command proposes it: which key, from what to what, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.common.config.tree import SECTIONS

if TYPE_CHECKING:
    from services.common.config.tree import Value


@dataclass(frozen=True)
class Proposal:
    """One key with the value that it has and the one that it should have."""

    section: str
    key: str
    now: Value
    proposed: Value
    why: str

    @property
    def name(self) -> str:
        """The key as `appia config` writes it."""
        return f"{self.section}.{self.key}"

    @property
    def changes(self) -> bool:
        """Whether there is something to change."""
        return self.now != self.proposed

    def as_dict(self) -> dict[str, Value]:
        """Plain data."""
        return {
            "key": self.name,
            "now": self.now,
            "proposed": self.proposed,
            "changes": self.changes,
            "why": self.why,
        }

    def kept(self, why: str) -> Proposal:
        """The same without a change, and why there is none."""
        return replace(self, proposed=self.now, why=f"{why}: not changed")


def bounds_of(section: str, key: str) -> tuple[float, float]:
    """The least and the most that a number of the configuration may be, as its type says.

    Raises:
        KeyError: there is no such key.
    """
    lowest, highest = float("-inf"), float("inf")
    for rule in SECTIONS[section].model_fields[key].metadata:
        lowest = max(lowest, getattr(rule, "ge", getattr(rule, "gt", lowest)))
        highest = min(highest, getattr(rule, "le", getattr(rule, "lt", highest)))
    return lowest, highest
