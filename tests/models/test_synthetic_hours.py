"""Made-up hours could be those of a network, are the same for a seed, and show every behaviour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.synthetic_hours import (
    BEHAVIOURS,
    LENGTH,
    Behaviour,
    HostMaker,
    bursts,
    drip,
    episode,
    office,
    periodic,
    steady,
)
from services.common.events.windows import CHANNELS, STEPS

EVENTS, BYTES, PACKETS, FAN_OUT, PORTS, THREAT = range(6)


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.name)
def test_hours_could_have_been_measured(behaviour: Behaviour) -> None:
    """No step has more peers, ports or packets' worth than its flows allow, and silence is silent."""
    made = HostMaker(np.random.default_rng(1), [behaviour], alone=1.0).windows(20, 30)
    values = made.rows.values
    active = values[..., EVENTS] > 0
    assert values.shape[1:] == (STEPS, len(CHANNELS))
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert not values[~active].any()
    assert (values[active][:, PACKETS] >= values[active][:, EVENTS] * 0.1).all()
    for distinct in (FAN_OUT, PORTS):
        assert (values[active][:, distinct] >= 1).all()
        assert (values[..., distinct] <= values[..., EVENTS]).all()
    assert (values[..., THREAT] <= 1).all()
    assert set(made.names) == {behaviour.name}


def test_every_window_ends_with_something_as_those_of_events_do() -> None:
    values = HostMaker(np.random.default_rng(2)).windows(50, 20).rows.values
    assert (values[:, -1, EVENTS] > 0).all()


def test_a_window_is_the_one_before_and_a_step_more() -> None:
    made = HostMaker(np.random.default_rng(3)).windows(30, 20).rows
    after = np.flatnonzero((np.diff(made.hosts) == 0) & (np.diff(made.steps) == 1))
    assert len(after)
    np.testing.assert_array_equal(made.values[after + 1, :-1], made.values[after, 1:])


def test_a_seed_gives_the_same_hours() -> None:
    one, same, other = (HostMaker(np.random.default_rng(seed)).windows(20, 10) for seed in (4, 4, 5))
    assert one.rows.values.tobytes() == same.rows.values.tobytes() != other.rows.values.tobytes()


def test_every_behaviour_appears_and_no_host_is_like_another() -> None:
    made = HostMaker(np.random.default_rng(6)).windows(400, 10)
    assert set(made.names) == {behaviour.name for behaviour in BEHAVIOURS}
    sizes = [made.rows.values[made.rows.hosts == host, -1, BYTES].max() for host in range(400)]
    assert np.log10(np.max(sizes) / np.min(sizes)) > 5


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([steady, periodic, bursts, drip, office, episode]),
    st.integers(0, 2**32),
    st.integers(64, 512),
)
def test_a_pattern_is_an_activity_of_each_step(pattern: object, seed: int, steps: int) -> None:
    assert callable(pattern)
    activity = pattern(steps, np.random.default_rng(seed))
    assert activity.shape == (steps,)
    assert np.isfinite(activity).all()
    assert (activity >= 0).all()


def test_a_beacon_keeps_its_period() -> None:
    """The gaps between its moments vary less than their mean, unlike those of a drip."""
    random = np.random.default_rng(7)

    def spread(pattern: object) -> float:
        assert callable(pattern)
        gaps = [np.diff(np.flatnonzero(pattern(LENGTH, random))) for _ in range(50)]
        return float(np.mean([gap.std() / gap.mean() for gap in gaps if len(gap) > 3]))

    assert spread(periodic) < 0.6 * spread(drip)
