"""Of payloads the newest are known, however many came before, and memory stays bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ingester.recent import RecentIdentities

if TYPE_CHECKING:
    from pathlib import Path

MOST = 20
GROUPS = st.lists(
    st.tuples(st.lists(st.integers(0, 90), min_size=1, max_size=12), st.booleans()), max_size=40
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=GROUPS)
def test_the_newest_are_known(tmp_path: Path, groups: list[tuple[list[int], bool]]) -> None:
    """Of the newest 20 distinct ones none is called new again; what was taken back is new, and counts for nothing."""
    recent = RecentIdentities((), MOST, tmp_path)
    kept: list[int] = []
    for numbers, is_taken_back in groups:
        payloads = [str(number).encode() for number in numbers]
        new = recent.add_new(payloads)
        newest = set(kept[-MOST:])
        assert not any(is_new for number, is_new in zip(numbers, new, strict=True) if number in newest)
        assert all(new[at] for at, n in enumerate(numbers) if n not in kept and n not in numbers[:at])
        added = [number for number, is_new in zip(numbers, new, strict=True) if is_new]
        if is_taken_back:
            recent.take_back([str(number).encode() for number in added])
        else:
            kept = [number for number in kept if number not in added] + added
    recent.close()


def test_what_is_long_ago_is_forgotten(tmp_path: Path) -> None:
    """The first of many is new once more, so nothing grows for ever."""
    recent = RecentIdentities((), MOST, tmp_path)
    for number in range(3 * MOST):
        assert recent.add_new([str(number).encode()]).all()
    again = recent.add_new([str(number).encode() for number in range(3 * MOST)])
    assert (np.flatnonzero(again)[0], again[-MOST:].any()) == (0, False)
    recent.close()
