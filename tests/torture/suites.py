"""Every suite, by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torture.suite import Suite


def every_suite() -> dict[str, Suite]:
    """The suites in the order in which they are run. Imported here, so that a slice of one loads nothing of others."""
    suites: list[Suite] = []
    return {suite.name: suite for suite in suites}
