"""A suite with the rounds of every change, inside pytest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from torture.suite import Budget

if TYPE_CHECKING:
    from pathlib import Path

    from torture.suite import Outcome, Suite

DEFAULT_SEED = 20261120
SEED = int(os.environ.get("APPIA_TORTURE_SEED", f"{DEFAULT_SEED}"))
"""The same on every run, so that a change is judged and not the day's luck; `make torture` draws new ones."""


def hold(suite: Suite, folder: Path) -> Outcome:
    """Do the rounds of every change; fail with the broken promises, else give what they came to."""
    outcome = suite.run(Budget(SEED, folder, suite.ci_rounds))
    print(f"{suite.name}: {outcome.rounds} {suite.unit}, seed {SEED}, {outcome.facts}")
    told = "\n".join(f"round {fault.round}: {fault.sentence}" for fault in outcome.faults[:10])
    assert not outcome.broken, f"{suite.name}: {outcome.broken} broken with seed {SEED}\n{told}"
    assert outcome.rounds == suite.ci_rounds
    return outcome
