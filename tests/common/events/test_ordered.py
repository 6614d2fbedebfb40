"""Numbers by sorted keys are those of a plain dictionary, however they came and however often levels were merged."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.events import ordered
from services.common.events.ordered import OrderedNumbers

KEYS = st.lists(st.lists(st.integers(0, 300), max_size=40, unique=True), max_size=8)


def _as_keys(values: list[int]) -> np.ndarray:
    return np.array(values, np.uint64)


@settings(max_examples=60, deadline=None)
@given(KEYS, st.integers(0, 300), st.integers(0, 80))
def test_it_finds_what_a_dictionary_finds(batches: list[list[int]], first: int, width: int) -> None:
    """Every key by itself, every range, and all in order."""
    known: dict[int, int] = {}
    numbers = OrderedNumbers()
    for batch in batches:
        new = sorted(key for key in batch if key not in known)
        numbers.add(_as_keys(new), np.arange(len(known), len(known) + len(new)))
        known.update(zip(new, range(len(known), len(known) + len(new)), strict=True))
    assert len(numbers) == len(known)
    assert numbers.numbers().tolist() == [known[key] for key in sorted(known)]
    everything = list(range(301))
    assert numbers.find(_as_keys(everything)).tolist() == [known.get(key, -1) for key in everything]
    starts = [first, 0]
    owners, found = numbers.between(_as_keys(starts), _as_keys([start + width for start in starts]))
    for owner, start in enumerate(starts):
        wanted = {known[key] for key in range(start, start + width + 1) if key in known}
        here = found[owners == owner].tolist()
        assert (len(here), set(here)) == (len(wanted), wanted)


def test_both_levels_are_looked_into() -> None:
    """What was merged into the large level and what is still in the small one are found alike."""
    numbers = OrderedNumbers()
    keys = np.random.default_rng(1).permutation(20_000).astype(np.uint64)
    for first in range(0, 20_000, 700):
        part = np.sort(keys[first : first + 700])
        numbers.add(part, part.astype(np.int64))
    assert len(numbers._large[0]) > ordered._SMALL
    assert len(numbers._small[0]) > 0
    assert numbers.find(keys).tolist() == keys.tolist()
    owners, found = numbers.between(_as_keys([100]), _as_keys([19_000]))
    assert (set(owners.tolist()), sorted(found.tolist())) == ({0}, list(range(100, 19_001)))
