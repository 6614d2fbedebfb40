"""Made-up hours of hosts: what the temporal model learns from beside the recorded sample, which lasts minutes.

Each host follows one or two of the behaviours below for some hours. A behaviour is a pattern in time (steady,
periodic, bursts, a day at the office) and how much it does in an active step: flows, packets of a flow, bytes of a
packet, peers and ports. Every number is drawn anew for each host within wide bounds, on a log scale, so that what is
learned is the shape of behaviours and not the sizes of one network. No recorded traffic is in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from services.common.events.windows import CHANNELS, STEPS
from services.training.port import HostWindowRows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Series = NDArray[np.float64]
    Random = np.random.Generator
    Pattern = Callable[[int, Random], Series]

HOURS = 4
LENGTH = HOURS * STEPS


def steady(steps: int, random: Random) -> Series:
    """About the same in every step."""
    return np.exp(random.uniform(0.0, 0.4) * random.standard_normal(steps))


def periodic(steps: int, random: Random) -> Series:
    """A moment of activity each 2 to 24 steps, not quite on time."""
    period = _between(random, 2, 24)
    late = random.uniform(0, 0.15) * period * random.standard_normal(steps)
    moments = np.arange(0, steps, period)
    places = (random.uniform(0, period) + moments + late[: len(moments)]).astype(int)
    return np.bincount(places[(places >= 0) & (places < steps)], minlength=steps).astype(np.float64)


def bursts(steps: int, random: Random) -> Series:
    """Bursts of 1 to 6 steps, at any time, each of its own size."""
    activity = np.zeros(steps)
    for start in np.flatnonzero(random.random(steps) < _between(random, 0.01, 0.15)).tolist():
        activity[start : start + random.integers(1, 7)] += _between(random, 0.2, 5)
    return activity


def drip(steps: int, random: Random) -> Series:
    """A little now and then, without any order."""
    return (random.random(steps) < _between(random, 0.05, 0.6)).astype(np.float64)


def office(steps: int, random: Random) -> Series:
    """Wanders between busy and idle, with breaks."""
    drift = np.cumsum(random.standard_normal(steps)) * random.uniform(0.05, 0.3)
    awake = np.repeat(random.random(steps // 8 + 1) < 0.75, 8)[:steps]
    return np.asarray(np.exp(drift - drift.mean() + 0.6 * random.standard_normal(steps)) * awake, np.float64)


def episode(steps: int, random: Random) -> Series:
    """On for 3 to 60 steps, with a beginning and an end, then off."""
    length = int(_between(random, 3, 60))
    activity = np.zeros(steps)
    start = int(random.integers(0, max(steps - length, 1)))
    activity[start : start + length] = steady(length, random)[: steps - start]
    activity[start] *= random.uniform(0.1, 1)
    return activity


def rarely(steps: int, random: Random) -> Series:
    """One to three moments in all, as of most addresses that a network ever hears from."""
    activity = np.zeros(steps)
    activity[random.integers(0, steps, random.integers(1, 4))] = 1
    return activity


@dataclass(frozen=True)
class Behaviour:
    """A pattern in time, and bounds of what an active step holds."""

    name: str
    pattern: Pattern
    flows: tuple[float, float]  # of a step
    packets: tuple[float, float]  # of a flow
    packet_bytes: tuple[float, float]
    peers: tuple[float, float] = (1, 1)  # that there are to talk to
    ports: tuple[float, float] = (1, 1)  # that there are to talk to
    seen: float = 0.0  # how likely the sensors of a host give it a score


BEHAVIOURS = (
    Behaviour("office", office, (2, 60), (6, 60), (100, 900), peers=(5, 60), ports=(2, 6)),
    Behaviour("backup", episode, (1, 8), (500, 50_000), (800, 1400)),
    Behaviour("monitoring", steady, (3, 60), (4, 12), (60, 120), peers=(3, 40), ports=(2, 10)),
    Behaviour("name server", steady, (20, 600), (2, 4), (60, 140), peers=(2, 6)),
    Behaviour("updates", bursts, (2, 20), (50, 3000), (500, 1400), peers=(1, 6), ports=(1, 2)),
    Behaviour("idle", drip, (1, 3), (1, 8), (50, 200), peers=(1, 5), ports=(1, 3)),
    Behaviour("visitor", rarely, (1, 6), (4, 100), (60, 1000), ports=(1, 2)),
    Behaviour("knock", rarely, (1, 3), (1, 3), (40, 80), peers=(1, 3), ports=(1, 3), seen=0.3),
    Behaviour("beacon", periodic, (1, 4), (3, 20), (60, 300), peers=(1, 2), seen=0.4),
    Behaviour("flood", episode, (100, 30_000), (1, 6), (40, 120), ports=(1, 2), seen=0.8),
    Behaviour("web flood", episode, (50, 5000), (5, 25), (100, 1000), seen=0.8),
    Behaviour("slow web", episode, (5, 200), (3, 15), (40, 90), seen=0.5),
    Behaviour(
        "port scan", episode, (20, 5000), (1, 3), (40, 70), peers=(1, 3), ports=(200, 60_000), seen=0.7
    ),
    Behaviour("sweep", episode, (10, 3000), (1, 4), (40, 80), peers=(100, 5000), ports=(1, 4), seen=0.7),
    Behaviour("slow scan", drip, (1, 6), (1, 3), (40, 70), peers=(1, 200), ports=(50, 5000), seen=0.3),
    Behaviour("brute force", episode, (5, 400), (10, 40), (60, 160), seen=0.7),
    Behaviour("web attack", episode, (1, 60), (6, 200), (100, 700), seen=0.5),
    Behaviour("exfiltration", bursts, (1, 6), (100, 20_000), (600, 1400), peers=(1, 2), seen=0.4),
    Behaviour("drip out", drip, (1, 4), (10, 200), (200, 1200), seen=0.2),
)


@dataclass(frozen=True)
class MadeWindows:
    """Windows of made-up hosts, and the behaviour that did most in the last step of each, text (m,)."""

    rows: HostWindowRows
    names: NDArray[np.str_]


@dataclass(frozen=True)
class HostMaker:
    """Makes hosts: `alone` is the share of those with one behaviour only."""

    random: Random
    behaviours: Sequence[Behaviour] = field(default=BEHAVIOURS)
    alone: float = 0.5

    def windows(self, hosts: int, for_each: int) -> MadeWindows:
        """At most `for_each` windows of each host, all of which end in an active step, as those of events do."""
        values, numbers, steps, names = [], [], [], []
        for host in range(hosts):
            series, doing = self._host()
            ends = np.flatnonzero(series[:, 0] > 0)
            start = int(self.random.integers(0, max(len(ends) - for_each, 0) + 1))
            ends = ends[start : start + for_each]  # neighbours in time, which is what is learned from
            before = np.concatenate([np.zeros((STEPS - 1, len(CHANNELS))), series])
            values.append(before[ends[:, None] + np.arange(STEPS)])
            numbers.append(np.full(len(ends), host))
            steps.append(ends)
            names.append(doing[ends])
        rows = HostWindowRows(
            np.concatenate(values).astype(np.float32), np.concatenate(numbers), np.concatenate(steps)
        )
        return MadeWindows(rows, np.concatenate(names))

    def _host(self) -> tuple[Series, NDArray[np.str_]]:
        """The steps of a host, (LENGTH, 6), and what it did most in each, text (LENGTH,)."""
        count = 1 if self.random.random() < self.alone else 2
        chosen = [self.behaviours[i] for i in self.random.choice(len(self.behaviours), count, replace=False)]
        parts = np.stack([self._series(behaviour) for behaviour in chosen])
        names = np.array([behaviour.name for behaviour in chosen])
        both = parts.sum(axis=0)
        both[:, 5] = parts[:, :, 5].max(axis=0)
        return both, names[parts[:, :, 0].argmax(axis=0)]

    def _series(self, behaviour: Behaviour) -> Series:
        random = self.random
        activity = behaviour.pattern(LENGTH, random)
        flows = random.poisson(activity * _between(random, *behaviour.flows)).astype(np.float64)
        flows = np.where(activity > 0, np.maximum(flows, activity > 0.5), 0.0)
        jitter = np.exp(random.uniform(0.02, 0.4) * random.standard_normal((2, LENGTH)))
        packets = np.ceil(flows * _between(random, *behaviour.packets) * jitter[0])
        size = np.ceil(packets * _between(random, *behaviour.packet_bytes) * jitter[1])
        peers = _distinct(flows, _between(random, *behaviour.peers))
        ports = _distinct(flows, _between(random, *behaviour.ports))
        threat = np.zeros(LENGTH)
        if random.random() < behaviour.seen:
            threat = np.clip(random.uniform(0.3, 0.95) + 0.1 * random.standard_normal(LENGTH), 0, 1) * (
                flows > 0
            )
        return np.stack([flows, size, packets, peers, ports, threat], axis=1)


def _between(random: Random, least: float, most: float) -> float:
    """A number drawn evenly on the log scale."""
    return math.exp(random.uniform(math.log(least), math.log(most)))


def _distinct(flows: Series, there_are: float) -> Series:
    """How many of `there_are` equally likely ones a step of so many flows meets, on average."""
    there_are = max(round(there_are), 1)
    return (
        np.round(there_are * (1 - (1 - 1 / there_are) ** flows))
        if there_are > 1
        else (flows > 0).astype(float)
    )
