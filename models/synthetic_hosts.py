"""Synthetic days of a small network: what hosts of every common kind do, and what attackers do.

The recorded traffic in `samples/` has few hosts. These days tell the `entity` model which numbers of a profile vary
together: clients, servers, printers, things that call home, backups, scans, floods, guessing, theft. Addresses are
numbers; every size and rate is drawn anew for each host and day, over orders of magnitude.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from services.common.events.profiles import VERDICTS, Flows, HostTally

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

INSIDE, OUTSIDE = 60, 240
HOSTS = INSIDE + OUTSIDE
"""Hosts of a day: the first `INSIDE` are private."""
_SERVERS, _PRINTERS = range(6), range(6, 10)
_CLIENTS = range(10, INSIDE)
_DNS, _DIRECTORY, _FILES, _WEB, _BACKUP, _DATABASE = _SERVERS
_HOUR_NS = 3_600_000_000_000
_TCP, _UDP, _ICMP = 6, 17, 1
_COMMON = (80, 443, 443, 443, 443, 8080, 993, 25, 123, 5222, 50_000)


@dataclass(frozen=True)
class _Burst:
    """Events between two groups of hosts within some hours."""

    src: tuple[int, ...]
    dst: tuple[int, ...]
    ports: tuple[int, ...]
    hours: tuple[float, float]
    events: float  # about so many; drawn log-normally
    event_bytes: float  # about so many each
    protocol: int = _TCP
    malicious: float = 0.0  # share that detectors notice
    every_ns: int = 0  # 0 for random times


def day_profiles(seed: int, *, everyone: bool = False) -> NDArray[np.float32]:
    """The profiles of the hosts that did something on a day, or of all, float32 (m, len(PROFILE)), by the seed."""
    rng = np.random.default_rng(seed)
    tally = HostTally(HOSTS)
    judged = rng.random() < 0.7  # else a sensor without verdicts
    seen = np.zeros(HOSTS, np.bool_)
    for burst in _bursts(rng):
        flows = _flows(burst, rng)
        if not judged:
            nothing = np.zeros_like(flows.threat)
            none = np.full_like(flows.verdict, len(VERDICTS))
            flows = replace(flows, verdict=none, threat=nothing, divergence=nothing)
        seen[flows.src] = seen[flows.dst] = True
        tally.add(flows)
    return tally.profiles(np.arange(HOSTS) < INSIDE)[seen | everyone]


def _bursts(rng: np.random.Generator) -> list[_Burst]:
    found = [burst for client in _CLIENTS if rng.random() < 0.9 for burst in _client(client, rng)]
    found += [burst for printer in _PRINTERS for burst in _thing(printer, rng)]
    found += _servers(rng)
    attacks: tuple[Callable[[np.random.Generator], list[_Burst]], ...] = (
        _scan,
        _sweep,
        _flood,
        _guessing,
        _theft,
        _tunnel,
        _beacon,
    )
    for attack in attacks:
        if rng.random() < 0.6:
            found += attack(rng)
    return found


def _outside(rng: np.random.Generator, count: int) -> tuple[int, ...]:
    return tuple((INSIDE + rng.choice(OUTSIDE, count, replace=False)).tolist())


def _inside(rng: np.random.Generator) -> int:
    return int(rng.choice(_CLIENTS))


def _client(client: int, rng: np.random.Generator) -> list[_Burst]:
    begin = rng.uniform(6, 10)
    hours = (begin, begin + rng.uniform(2, 10))
    much = rng.lognormal(0, 0.8)
    sites = _outside(rng, int(rng.integers(3, 60)))
    return [
        _Burst((client,), sites, _COMMON, hours, 250 * much, 9_000),
        _Burst((client,), (_DNS,), (53,), hours, 180 * much, 180, _UDP),
        _Burst((client,), (_DIRECTORY,), (88, 389, 445), hours, 40 * much, 3_000),
        _Burst((client,), (_FILES,), (445,), hours, 30 * much, 60_000),
        _Burst((client,), (_WEB,), (443, 80), hours, 25 * much, 12_000),
    ]


def _thing(thing: int, rng: np.random.Generator) -> list[_Burst]:
    home = _outside(rng, 1)
    return [
        _Burst((thing,), home, (443,), (0, 24), 1, 900, every_ns=int(rng.uniform(60, 900) * 1e9)),
        _Burst((thing,), (_DNS,), (53, 123), (0, 24), 90, 200, _UDP),
        _Burst((thing,), tuple(_PRINTERS), (5353, 1900), (0, 24), 60, 300, _UDP),
        _Burst((int(rng.choice(_CLIENTS)),), (thing,), (9100, 631), (8, 18), 12, 400_000),
    ]


def _servers(rng: np.random.Generator) -> list[_Burst]:
    visitors, night = _outside(rng, 80), (rng.uniform(0, 3), rng.uniform(3.5, 6))
    return [
        _Burst(visitors, (_WEB,), (443, 80), (0, 24), 1500 * rng.lognormal(), 20_000),
        _Burst((_WEB,), (_DATABASE,), (5432,), (0, 24), 900 * rng.lognormal(), 4_000),
        _Burst((_DNS,), _outside(rng, 12), (53,), (0, 24), 800, 250, _UDP),
        _Burst(tuple(_SERVERS), (_BACKUP,), (22, 873), night, 90, 40_000_000 * rng.lognormal()),
        _Burst(tuple(_SERVERS), _outside(rng, 4), (443, 123), (0, 24), 150, 5_000),
        _Burst((_BACKUP,), tuple(_SERVERS), (161, 0), (0, 24), 300, 120, _ICMP),
    ]


def _window(rng: np.random.Generator, longest: float) -> tuple[float, float]:
    begin = rng.uniform(0, 23)
    return begin, min(24.0, begin + rng.uniform(0.05, longest))


def _attacker(rng: np.random.Generator) -> int:
    return _inside(rng) if rng.random() < 0.4 else _outside(rng, 1)[0]


def _scan(rng: np.random.Generator) -> list[_Burst]:
    """Many ports of one host."""
    ports = tuple(rng.choice(60_000, int(rng.integers(100, 4000)), replace=False).tolist())
    return [_Burst((_attacker(rng),), (_inside(rng),), ports, _window(rng, 3), len(ports), 60, malicious=0.8)]


def _sweep(rng: np.random.Generator) -> list[_Burst]:
    """One port of many hosts."""
    port = int(rng.choice((22, 23, 445, 3389, 5900, 8080)))
    return [_Burst((_attacker(rng),), tuple(range(INSIDE)), (port,), _window(rng, 5), 400, 70, malicious=0.6)]


def _flood(rng: np.random.Generator) -> list[_Burst]:
    sources = _outside(rng, int(rng.choice((1, 3, 150))))
    target = int(rng.choice((_WEB, _DNS, _inside(rng))))
    size = float(rng.choice((60, 900, 60_000)))
    return [_Burst(sources, (target,), (80,), _window(rng, 1.5), 6000 * rng.lognormal(), size, malicious=0.9)]


def _guessing(rng: np.random.Generator) -> list[_Burst]:
    port = int(rng.choice((21, 22, 3389, 25, 443)))
    target = (int(rng.choice((_WEB, _FILES, _inside(rng)))),)
    return [_Burst((_attacker(rng),), target, (port,), _window(rng, 6), 2500, 3_000, malicious=0.7)]


def _theft(rng: np.random.Generator) -> list[_Burst]:
    size = 200_000_000 * rng.lognormal()
    return [_Burst((_inside(rng),), _outside(rng, 1), (443, 22), _window(rng, 3), 15, size, malicious=0.3)]


def _tunnel(rng: np.random.Generator) -> list[_Burst]:
    return [_Burst((_inside(rng),), (_DNS,), (53,), _window(rng, 12), 4000, 450, _UDP, malicious=0.2)]


def _beacon(rng: np.random.Generator) -> list[_Burst]:
    every_ns = int(rng.lognormal(4, 1) * 1e9) + 1_000_000_000
    return [
        _Burst(
            (_inside(rng),), _outside(rng, 1), (443, 8443), (0, 24), 1, 600, malicious=0.1, every_ns=every_ns
        )
    ]


def _flows(burst: _Burst, rng: np.random.Generator) -> Flows:
    begin, end = (int(hour * _HOUR_NS) for hour in burst.hours)
    if burst.every_ns:
        times = np.arange(begin + int(rng.integers(burst.every_ns)), end, burst.every_ns)
    else:
        count = int(max(1, burst.events * rng.lognormal(0, 0.5)))
        times = np.sort(rng.integers(begin, max(end, begin + 1), count))
    count = len(times)
    noticed = rng.random(count) < burst.malicious
    size = burst.event_bytes * rng.lognormal(0, 0.7, count)
    return Flows(
        src=rng.choice(burst.src, count).astype(np.int64),
        dst=rng.choice(burst.dst, count).astype(np.int64),
        time_ns=times.astype(np.int64),
        dst_port=rng.choice(burst.ports, count).astype(np.uint16),
        protocol=np.full(count, burst.protocol, np.uint8),
        bytes=size,
        packets=np.maximum(1.0, size / 700),
        verdict=np.where(noticed, VERDICTS.index("malicious"), VERDICTS.index("benign")),
        threat=np.where(noticed, rng.uniform(0.6, 1.0, count), rng.uniform(0.0, 0.4, count)),
        divergence=rng.uniform(0.0, 0.3, count),
        fast_triggered=(noticed & (rng.random(count) < 0.5)).astype(np.uint8),
    )
