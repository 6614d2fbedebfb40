"""The entity model keeps hosts of one kind together, is bounded and repeatable, and weighs groups alike."""

from __future__ import annotations

import numpy as np
import pytest

from models.build_entity import DIM, PEERS_WEIGHT, column_weights, fit, recipe, sample_profiles
from models.sample import read_events, sample_files
from models.synthetic_hosts import INSIDE, day_profiles
from services.common.events.profiles import COLUMN, GROUPS, OWN, PROFILE, profiles_schema_hash


@pytest.fixture(scope="module")
def synthetic() -> np.ndarray:
    return np.concatenate([day_profiles(seed) for seed in (100, 101)])


def test_the_same_seed_gives_the_same_day_and_another_gives_another() -> None:
    """Synthetic days are repeatable, and have hosts of either side that did something."""
    day = day_profiles(7)
    assert np.array_equal(day, day_profiles(7))
    assert not np.array_equal(day, day_profiles(8))
    assert len(day) > INSIDE
    assert (day[:, COLUMN["out.events"]] + day[:, COLUMN["in.events"]] > 0).all()
    assert np.isfinite(day).all()


def test_synthetic_days_know_all_that_a_profile_tells() -> None:
    """Of the host's own numbers only those for what sensors rarely write never vary: no component is left to chance."""
    days = np.concatenate([day_profiles(seed) for seed in range(4)])
    constant = {name for name in OWN if np.ptp(days[:, COLUMN[name]]) == 0}
    assert {name.partition(".")[2] for name in constant} <= {
        "suspicious",
        "other_protocol",
        "dhcp",
        "mail",
        "telnet",
    }


def test_groups_weigh_alike_and_peers_less() -> None:
    """The squared weights of each group of a host's own numbers add up to 1, those of its peers to a quarter."""
    weights = column_weights()
    for group in GROUPS:
        columns = np.array(group)
        assert (weights[columns] ** 2).sum() == pytest.approx(1)
        assert (weights[columns + len(OWN)] ** 2).sum() == pytest.approx(PEERS_WEIGHT**2)


def test_the_same_profiles_give_the_same_bytes(synthetic: np.ndarray) -> None:
    """Fitting is deterministic, and 64 components keep nearly all of what varies."""
    projection, explained = fit(synthetic[:50], synthetic)
    assert projection.to_onnx() == fit(synthetic[:50], synthetic)[0].to_onnx()
    assert projection.projection.shape == (len(PROFILE), DIM)
    assert explained > 0.95


def test_hosts_of_a_kind_are_neighbours_on_another_day() -> None:
    """The nearest host of another synthetic day is of the same kind: servers, printers, outside, clients."""
    seen = sample_profiles(read_events(sample_files()))
    projection, _ = fit(seen, np.concatenate([day_profiles(seed) for seed in range(6)]))
    days = [projection.apply(day_profiles(seed, everyone=True)) for seed in (200, 201)]
    distances = np.linalg.norm(days[0][:, None] - days[1][None], axis=2)
    kinds = np.repeat(["server", "printer", "client"], [6, 4, INSIDE - 10])
    nearest = distances[:INSIDE, :INSIDE].argmin(axis=1)
    assert (kinds[nearest] == kinds).mean() > 0.9


def test_the_sample_has_hosts() -> None:
    """The recorded traffic gives profiles of its hosts, none of them judged."""
    profiles = sample_profiles(read_events(sample_files()))
    assert len(profiles) > 20
    assert profiles[:, COLUMN["out.malicious"]].max() == 0
    assert profiles[:, COLUMN["out.events"]].sum() == len(read_events(sample_files()))


def test_the_recipe_names_the_numbers_it_is_for() -> None:
    """The model is refused by a program with other profiles: its input carries their hash."""
    assert recipe().input.hash == profiles_schema_hash()
    assert (recipe().input.shape, recipe().dim, recipe().metric) == ((len(PROFILE),), DIM, "l2")
