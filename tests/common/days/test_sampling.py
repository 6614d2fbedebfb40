"""Benign sampling at sealing: which events keep a vector, and what readers say of the others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from services.common.days.chunk import open_chunk
from services.common.days.distinct import Embedded
from services.common.days.identity import identities
from services.common.days.policies import IndexPolicy, parse_policies, tell_policies
from services.common.days.sampling import chosen_rows, sample_benign
from services.common.days.vectors import NO_VECTOR
from services.common.days.verify import verify_day
from services.common.events.network_security_pb2 import NetworkSecurityEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.common.days.chunk import Chunk
    from services.common.days.names import GenerationNames, StateNames
    from services.common.days.sealed_reader import SealedReader
    from services.common.days.sealing import Sealer

DAY = "2026-01-22"
ROWS, BENIGN = 400, 300


def _event(payload: bytes, **fields: object) -> bytes:
    """A clearly benign event, but for the fields given."""
    event = NetworkSecurityEvent.FromString(payload)
    event.final_classification, event.overall_threat_score = "BENIGN", 0.1
    for name, value in fields.items():
        if name == "label":
            event.custom_metadata["label"] = str(value)
        else:
            setattr(event, name, value)
    return event.SerializeToString(deterministic=True)


SPEAKS_AGAINST = (
    {"final_classification": "MALICIOUS"},
    {"final_classification": ""},
    {"threat_category": "PortScan"},
    {"label": "Bot"},
    {"fast_detector_triggered": True},
    {"overall_threat_score": 0.5},
    {"fast_detector_score": 0.9},
    {"ml_detector_score": 0.9},
)


@pytest.fixture
def sealed(
    state: StateNames,
    sealer: Sealer,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
) -> Callable[[dict[str, IndexPolicy]], GenerationNames]:
    """`sealed(policies)`: a day of which three quarters are clearly benign, and the rest in every other way."""

    def seal(policies: dict[str, IndexPolicy]) -> GenerationNames:
        names = state.day(DAY)
        payloads = [
            _event(payload, **(SPEAKS_AGAINST[number // 4 % 8] if number % 4 == 0 else {"label": "Normal"}))
            for number, payload in enumerate(make_payloads(ROWS))
        ]
        write_segment(names.segment(1), payloads)
        report = replace(sealer, policies=policies).seal(names, 1)
        assert report.vectors == verify_day(names).vectors
        return names.generation(1)

    return seal


@pytest.fixture
def chunk(sealed: Callable[..., GenerationNames]) -> Iterator[Chunk]:
    """The chunk of a day that was sealed whole."""
    opened = open_chunk(sealed({}).chunk)
    yield opened
    opened.log.close()


def _without_doubt(chunk: Chunk) -> np.ndarray:
    """Which rows were made without anything that speaks against them, bool (rows,)."""
    payloads = [chunk.log.event(position) or b"" for position in chunk.columns["position"].tolist()]
    events = [NetworkSecurityEvent.FromString(payload) for payload in payloads]
    return np.array([event.custom_metadata["label"] == "Normal" for event in events])


def test_what_is_not_clearly_benign_is_kept_whole(chunk: Chunk) -> None:
    """Every reason to doubt an event keeps it; of the others about the share, at a higher rate the same and more."""
    benign = _without_doubt(chunk)
    some, few = chosen_rows(chunk, 0.5), chosen_rows(chunk, 0.1)
    assert some[~benign].all()
    assert few[~benign].all()
    assert benign.sum() == BENIGN
    assert 110 < some[benign].sum() < 190
    assert 10 < few[benign].sum() < 60
    assert (few <= some).all()
    assert chosen_rows(chunk, 1.0).all()


def test_the_identity_of_an_event_decides(chunk: Chunk) -> None:
    """The first eight bytes of the SHA-256 of the payload, as a share of 2**64, are below the rate."""
    benign, chosen = _without_doubt(chunk), chosen_rows(chunk, 0.5)
    payloads = [chunk.log.event(position) or b"" for position in chunk.columns["position"].tolist()]
    below = identities(payloads)["high"] < 2**63
    assert (chosen[benign] == below[benign]).all()


def test_rows_keep_a_vector_that_stays_anyway(chunk: Chunk) -> None:
    """Only vectors that no chosen row has go; the vectors that stay are numbered anew, in their order."""
    chosen = chosen_rows(chunk, 0.1)
    first, second = np.flatnonzero(~chosen)[:2]
    codes = np.arange(chunk.rows, dtype=np.uint32)
    codes[first] = np.flatnonzero(chosen)[0]
    vectors = np.arange(chunk.rows, dtype=np.float32)[:, None]
    kept = sample_benign(Embedded(vectors, codes), chunk, 0.1)
    assert kept.codes[second] == NO_VECTOR
    assert len(kept.vectors) == chosen.sum()
    there = kept.codes != NO_VECTOR
    assert (there == (chosen | (np.arange(chunk.rows) == first))).all()
    assert (kept.vectors[kept.codes[there]] == vectors[codes[there]]).all()
    whole = Embedded(vectors, codes)
    assert sample_benign(whole, chunk, 1.0) is whole


def test_a_sealed_day_says_what_was_left_out(
    sealed: Callable[..., GenerationNames],
    read_sealed: Callable[[GenerationNames], SealedReader],
    state: StateNames,
) -> None:
    """Its view and its check give the rows with a vector; an index without sampling is whole, the events all are."""
    generation = sealed({"attack": IndexPolicy(benign_sample_rate=0.2)})
    view = read_sealed(generation).view()
    attack, temporal = view.indices["attack"], view.indices["temporal"]
    there = sum(attack.has(row) for row in range(view.rows))
    assert view.rows == attack.rows == ROWS
    assert there == view.rows - attack.left_out < view.rows - BENIGN / 2
    assert view.missing == {"attack": f"{there} of {view.rows} rows: benign events are sampled"}
    assert temporal.left_out == 0
    check = verify_day(state.day(DAY))
    assert check.faults == ()
    assert f"{there} of {view.rows} rows have one" in check.vectors["attack"]
    assert "rows have one" not in check.vectors["temporal"]


def test_policies_pass_a_command_line() -> None:
    """What the ingester tells its sealer is what the sealer reads."""
    policies = {"attack": IndexPolicy("maximum", 0.25), "semantic": IndexPolicy()}
    assert parse_policies(tell_policies(policies)) == policies
