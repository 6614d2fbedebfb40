"""Every suite, by its name."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from torture import power
from torture.fuzz_targets import TARGETS
from torture.fuzzing import blind, guided

if TYPE_CHECKING:
    from torture.suite import Suite


def every_suite() -> dict[str, Suite]:
    """The suites in the order in which they are run; those that coverage guides only where atheris is installed."""
    suites: list[Suite] = [power.SUITE, *map(blind, TARGETS)]
    if importlib.util.find_spec("atheris") is not None:
        suites += map(guided, TARGETS)
    return {suite.name: suite for suite in suites}
