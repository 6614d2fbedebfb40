"""All clients together get the rate, each an equal share of it, and nobody waits in the server."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from services.origin.fair_rate import ACTIVE_S, FairRate

MIB = 1 << 20


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def pulled(rate: FairRate, clock: Clock, clients: dict[str, int], seconds: float) -> dict[str, int]:
    """What each client gets that always wants so many bytes at once, and waits for as long as it is told."""
    got, due = dict.fromkeys(clients, 0), dict.fromkeys(clients, clock.now)
    until = clock.now + seconds
    while clock.now < until:
        for name, wanted in clients.items():
            if due[name] <= clock.now:
                grant = rate.allow(name, wanted)
                rate.spent(name, grant.size)
                got[name] += grant.size
                due[name] = clock.now + (grant.wait_s if not grant.size else 0.01)
        clock.now += 0.01
    return got


def test_without_a_limit_all_is_given() -> None:
    """Whatever is wanted."""
    assert FairRate(0).allow("a", 5 * MIB).size == 5 * MIB


@pytest.mark.parametrize("per_s", [100, 10_000, MIB, 100 * MIB])
def test_one_client_gets_the_rate(per_s: int) -> None:
    """Also where it is less than one request wants."""
    clock = Clock()
    got = pulled(FairRate(per_s, clock), clock, {"a": MIB}, 20)["a"]
    assert per_s * 19 <= got <= per_s * 21.1


def test_clients_have_equal_shares() -> None:
    """One that wants a lot takes nothing from one that wants as much in small pieces; together it is the rate."""
    clock = Clock()
    got = pulled(FairRate(MIB, clock), clock, {"long": MIB, "small": 8192}, 20)
    assert sum(got.values()) <= MIB * 21.6  # and what each had saved when it came
    assert got == {"long": pytest.approx(MIB * 10, rel=0.12), "small": pytest.approx(MIB * 10, rel=0.12)}


def test_who_asks_little_is_answered_at_once_beside_a_long_pull() -> None:
    """An open day is followed by some kilobytes a second; a pull of sealed days has used up its own share only."""
    clock = Clock()
    rate = FairRate(MIB, clock)
    pulled(rate, clock, {"long": MIB}, 5)
    assert rate.allow("follower", 20_000).size == 20_000


def test_the_share_of_one_who_left_goes_to_the_others() -> None:
    """Some seconds after its last read."""
    clock = Clock()
    rate = FairRate(MIB, clock)
    pulled(rate, clock, {"a": MIB, "b": MIB}, 5)
    clock.now += ACTIVE_S
    assert pulled(rate, clock, {"a": MIB}, 20)["a"] >= MIB * 18


def test_who_has_to_wait_is_told_for_how_long() -> None:
    """After that time there is something for it."""
    clock = Clock()
    rate = FairRate(1000, clock)
    rate.spent("a", rate.allow("a", MIB).size)
    grant = rate.allow("a", MIB)
    assert (grant.size, grant.wait_s) == (0, pytest.approx(1.0))
    clock.now += grant.wait_s
    assert rate.allow("a", MIB).size == pytest.approx(1000, abs=1)
