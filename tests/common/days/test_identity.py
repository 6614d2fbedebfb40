"""An identity set finds everything that was added and nothing else."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.days import identity
from services.common.days.identity import IdentitySet, identities, sort_identities

if TYPE_CHECKING:
    from pathlib import Path


def test_the_first_time_is_new_and_the_second_is_not_across_all_runs() -> None:
    """Also after pending entries were merged into runs of many sizes."""
    known = IdentitySet()
    payloads = [b"%d" % i for i in range(20_000)]
    for start in range(0, len(payloads), 300):
        assert known.add_new(payloads[start : start + 300]).all()
    for start in range(0, len(payloads), 700):
        assert not known.add_new(payloads[start : start + 700]).any()
    assert known.add_new([b"another"]).all()


@given(st.lists(st.binary(max_size=3), max_size=60), st.lists(st.binary(max_size=3), max_size=60))
def test_it_agrees_with_a_plain_set(before: list[bytes], now: list[bytes]) -> None:
    """For any history, including repeats within one call, the answer is that of a set."""
    known = IdentitySet([sort_identities(identities(sorted(set(before))))])
    seen = set(before)
    expected = []
    for payload in now:
        expected.append(payload not in seen)
        seen.add(payload)
    assert known.add_new(now).tolist() == expected


def test_identities_are_the_first_half_of_sha256() -> None:
    """The identity of a payload is fixed by the documented formula."""
    (value,) = identities([b"payload"])
    assert value.tobytes() == hashlib.sha256(b"payload").digest()[:16]
    assert np.array_equal(identities([]), identities([])[:0])


def test_a_large_set_keeps_its_runs_in_files_and_still_finds_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs above the limit leave memory; what is in them is known, what is not is new, and nothing is left behind."""
    monkeypatch.setattr(identity, "SPILL", 8192)
    known = IdentitySet([sort_identities(identities([b"old %d" % i for i in range(9000)]))], tmp_path)
    payloads = [b"%d" % i for i in range(40_000)]
    for start in range(0, len(payloads), 500):
        assert known.add_new(payloads[start : start + 500]).all()
    assert not known.add_new(payloads).any()
    assert not known.add_new([b"old %d" % i for i in range(9000)]).any()
    assert known.add_new([b"new %d" % i for i in range(5000)]).all()
    known.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", [0, 4095, 4096, 5000])
def test_what_was_just_added_can_be_taken_back(before: int) -> None:
    """However many there are already: what could not be written is new when it comes again, all else stays known."""
    known, others = IdentitySet(), [b"%d" % i for i in range(before)]
    known.add_new(others)
    new = [b"a", b"b", b"a", *others[:2]]
    assert known.add_new(new).tolist() == [True, True, False, *([False] * len(others[:2]))]
    known.take_back([b"a", b"b"])
    assert known.add_new([b"a", b"b"]).all()
    assert not known.add_new(others).any()
