"""Profiles of hosts: each number against the plainest way to count it, in any order and any blocks."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.events.profile_words import profile_facts, profile_words, size_words
from services.common.events.profiles import (
    COLUMN,
    GROUPS,
    OWN,
    PROFILE,
    SERVICES,
    VERDICTS,
    Flows,
    HostTally,
    profiles_schema_hash,
)
from services.common.events.table import LARGEST_FLOAT32

HOSTS = 7
MINUTE_NS, HOUR_NS = 60_000_000_000, 3_600_000_000_000
DAY_NS = 20_000 * 24 * HOUR_NS
INTERNAL = np.arange(HOSTS) < 3


def _flows(count: int, seed: int) -> Flows:
    rng = np.random.default_rng(seed)
    return Flows(
        src=rng.integers(0, HOSTS - 1, count),  # the last host does nothing
        dst=rng.integers(0, HOSTS - 1, count),
        time_ns=DAY_NS + rng.integers(0, 24 * HOUR_NS, count),
        dst_port=rng.choice([0, 53, 80, 443, 445, 700, 5000, 60_000], count).astype(np.uint16),
        protocol=rng.choice([6, 17, 1, 58, 132], count).astype(np.uint8),
        bytes=rng.integers(0, 10**9, count).astype(np.float32),
        packets=rng.integers(0, 1000, count).astype(np.float32),
        verdict=rng.integers(0, len(VERDICTS) + 1, count),
        threat=rng.random(count).astype(np.float32),
        divergence=rng.random(count).astype(np.float32),
        fast_triggered=rng.integers(0, 2, count).astype(np.uint8),
    )


def _take(flows: Flows, rows: Any) -> Flows:
    return Flows(*(getattr(flows, field.name)[rows] for field in fields(Flows)))


def _profiles(*blocks: Flows) -> Any:
    tally = HostTally(HOSTS)
    for block in blocks:
        tally.add(block)
    return tally.profiles(INTERNAL)


def _plain(flows: Flows, host: int, side: str) -> dict[str, float]:
    """The same numbers, one host at a time, by Python's own means."""
    owner, other = (flows.src, flows.dst) if side == "out" else (flows.dst, flows.src)
    rows = np.flatnonzero(owner == host).tolist()
    peers, ports = [int(other[row]) for row in rows], [int(flows.dst_port[row]) for row in rows]
    minutes = [int(flows.time_ns[row] % (24 * HOUR_NS) // MINUTE_NS) for row in rows]
    total = sum(float(flows.bytes[row]) for row in rows)
    count = max(len(rows), 1)
    return {
        "events": len(rows),
        "bytes": total,
        "bytes_per_event": total / count,
        "packets_per_event": sum(float(flows.packets[row]) for row in rows) / count,
        "peers": len(set(peers)),
        "largest_peer": max(map(peers.count, peers), default=0) / count,
        "internal_peers": sum(bool(INTERNAL[peer]) for peer in set(peers)) / max(len(set(peers)), 1),
        "ports": len(set(ports)),
        "largest_port": max(map(ports.count, ports), default=0) / count,
        "minutes": len(set(minutes)),
        "busiest_minute": max(map(minutes.count, minutes), default=0),
        "hours": len({minute // 60 for minute in minutes}),
        "icmp": sum(flows.protocol[row] in {1, 58} for row in rows) / count,
        "other_protocol": sum(flows.protocol[row] == 132 for row in rows) / count,
        "https": ports.count(443) / count,
        "windows": ports.count(445) / count,
        "no_port": ports.count(0) / count,
        "low_ports": ports.count(700) / count,
        "registered_ports": ports.count(5000) / count,
        "dynamic_ports": ports.count(60_000) / count,
        "malicious": sum(flows.verdict[row] == VERDICTS.index("malicious") for row in rows) / count,
        "threat": sum(float(flows.threat[row]) for row in rows) / count,
        "fast_triggered": sum(int(flows.fast_triggered[row]) for row in rows) / count,
        "highest_threat": max((float(flows.threat[row]) for row in rows), default=0.0),
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_number_is_what_counting_by_hand_gives(seed: int) -> None:
    """Volumes, reach, pace, protocols, services and verdicts of each host and side."""
    flows = _flows(300, seed)
    found = _profiles(flows)
    assert found.shape == (HOSTS, len(PROFILE))
    for host in range(HOSTS):
        for side in ("out", "in"):
            for name, value in _plain(flows, host, side).items():
                assert found[host, COLUMN[f"{side}.{name}"]] == pytest.approx(value, rel=1e-5), (
                    host,
                    side,
                    name,
                )


def test_hours_are_the_share_of_all_events_of_a_host() -> None:
    """Events of both sides count by their hour in UTC; the shares of a host that did something add up to 1."""
    flows = _flows(200, 4)
    found = _profiles(flows)[:, COLUMN["hour.00"] : len(OWN)]
    hours = flows.time_ns % (24 * HOUR_NS) // HOUR_NS
    for host in range(HOSTS):
        own = np.concatenate((hours[flows.src == host], hours[flows.dst == host]))
        assert found[host] == pytest.approx(np.bincount(own, minlength=24) / max(len(own), 1), rel=1e-5)


def test_the_second_half_is_the_typical_peer() -> None:
    """The mean of the distinct peers' numbers on a log scale, in either direction, each peer once, oneself never."""
    flows = _flows(40, 5)
    found = _profiles(flows).astype(np.float64)
    own, peers = found[:, : len(OWN)], found[:, len(OWN) :]
    pairs = set(zip(flows.src.tolist(), flows.dst.tolist(), strict=True))
    for host in range(HOSTS):
        ends = {a ^ b ^ host for a, b in pairs if host in {a, b}}
        others = sorted(ends - {host})
        expected = np.expm1(np.log1p(own[others]).mean(axis=0)) if others else np.zeros(len(OWN))
        assert peers[host] == pytest.approx(expected, rel=1e-4, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 120), max_size=4))
def test_order_and_blocks_do_not_matter(seed: int, cuts: list[int]) -> None:
    """Whatever the order in which events come, and in how many blocks, a host has the same profile."""
    flows = _flows(120, seed % 1000)
    shuffled = _take(flows, np.random.default_rng(seed).permutation(120))
    bounds = [0, *sorted(cuts), 120]
    blocks = [_take(shuffled, slice(a, b)) for a, b in pairwise(bounds)]
    assert _profiles(*blocks) == pytest.approx(_profiles(flows), rel=1e-6)


def test_what_senders_write_cannot_spoil_a_profile() -> None:
    """Numbers that are none, negative, or as large as a float can be: every number of every profile stays finite."""
    flows = _flows(60, 6)
    strange = np.array([np.nan, np.inf, -np.inf, -5.0, LARGEST_FLOAT32, 1e30] * 10, np.float32)
    spoiled = replace(flows, bytes=strange, packets=strange, threat=strange, divergence=strange)
    found = _profiles(spoiled)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found[:, COLUMN["out.threat"]].max() <= 1


def test_no_events_give_profiles_of_zeros() -> None:
    """Hosts without events, and no hosts at all."""
    assert not _profiles().any()
    assert HostTally(0).profiles(np.zeros(0, np.bool_)).shape == (0, len(PROFILE))


def test_each_own_number_is_in_one_group() -> None:
    """Groups cover the host's own numbers without overlap; names are distinct."""
    assert sorted(column for group in GROUPS for column in group) == list(range(len(OWN)))
    assert len(set(PROFILE)) == len(PROFILE) == 2 * len(OWN)


def test_the_hash_names_the_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another port for a service is another schema."""
    before = profiles_schema_hash()
    assert before == profiles_schema_hash()
    monkeypatch.setitem(SERVICES, "ssh", (22, 2222))
    assert profiles_schema_hash() != before


def test_facts_and_words_of_a_host() -> None:
    """The words name what it began and received, the largest services, bytes, stretches of hours and verdicts."""
    times = DAY_NS + np.array([7, 8, 9, 14], np.int64) * HOUR_NS
    flows = replace(
        _take(_flows(4, 7), slice(0, 4)),
        src=np.zeros(4, np.int64),
        dst=np.array([1, 1, 2, 0], np.int64),
        time_ns=times,
        dst_port=np.array([443, 443, 53, 22], np.uint16),
        bytes=np.array([1000, 1000, 100, 50], np.float32),
        verdict=np.array([0, 0, 0, 2]),
    )
    facts = profile_facts(_profiles(flows)[0])
    assert facts["out"] == {
        "events": 4,
        "bytes": 2150,
        "peers": 3,
        "ports": 3,
        "services": {"https": 0.5, "ssh": 0.25, "dns": 0.25},
    }
    assert (facts["in"]["events"], facts["active_hours"], facts["verdicts"]["malicious"]) == (
        1,
        [7, 8, 9, 14],
        0.4,
    )
    assert profile_words(facts) == (
        "began 4 events with 3 hosts on 3 ports (https 50%, ssh 25%, dns 25%); "
        "received 1 event from 1 host on 1 port (ssh 100%); 2.2 kB; active in 4 hours (07-09, 14 UTC); 40% malicious"
    )
    assert profile_words(profile_facts(_profiles()[0])) == "no events; 0 B; never active"


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e15, "3,000.0 TB")],
)
def test_sizes_in_few_digits(count: float, words: str) -> None:
    """Decimal units, as in the SI."""
    assert size_words(count) == words
