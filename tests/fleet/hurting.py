"""Steps that hurt the fleet: what is cut, what has to go on, and how everything is well again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fleet.fleet import NO_ANSWER, wait_until
from fleet.installing import calm, fresh, questions
from fleet.story import Alert, Check

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fleet.fleet import Fleet

CUT_S = 25.0
BACK_WITHIN_S = 60.0
TOLD_WITHIN_S = 60.0
"""Health looks every 3 s, waits 2 s for answers, and 5 s for what mends itself: 11 s where it has the processor for
itself. It yields to everything else on a machine, so on a busy one that can be more than the cut lasts by itself."""
CLIENT_PORT, PEER_PORT = 2379, 2380


def cut_etcd(fleet: Fleet, member: str) -> Iterator[Check]:
    """One member of etcd is reached by nobody; the two others are enough."""
    since = time.time()
    fleet.machines.network.silence(member, CLIENT_PORT)
    fleet.machines.network.silence(member, PEER_PORT, asking=True)
    time.sleep(CUT_S)
    yield questions(fleet, since)
    yield fresh(fleet)
    fleet.machines.network.mend()
    yield calm(fleet)


def cut_replica(fleet: Fleet, name: str) -> Iterator[Check]:
    """The cable of a machine with replicas is pulled, and put back."""
    since = time.time()
    fleet.machines.network.unplug(name)
    time.sleep(CUT_S)
    yield questions(fleet, since)
    yield told(fleet, replicas_down(fleet, name))
    fleet.machines.network.plug(name)
    yield fresh(fleet)
    yield calm(fleet)
    yield questions(fleet, since)


def part_ingester(fleet: Fleet, site: str) -> Iterator[Check]:
    """The ingester's machine is parted from all others: sensors keep what they saw, replicas answer."""
    plan = fleet.plans[site]
    sensors = [fleet.sensors[name] for name in plan.sensors]
    others = [name for name in fleet.machines.network.places if name != plan.ingester]
    since, before = time.time(), sum(sensor.seen for sensor in sensors)
    fleet.machines.network.part([plan.ingester], others)
    time.sleep(CUT_S)
    yield questions(fleet, since)
    seen = sum(sensor.seen for sensor in sensors) - before
    yield Check(
        "its sensors see on, and wait",
        all(sensor.is_sending() for sensor in sensors),
        f"{seen} events meanwhile",
    )
    yield told(fleet, seen_by_a_parted_ingester(fleet, site))
    fleet.machines.network.mend()
    yield fresh(fleet)
    yield calm(fleet)
    yield questions(fleet, since)


def cut_power(fleet: Fleet, name: str) -> Iterator[Check]:
    """A machine with replicas loses its power, and comes back by itself when it has it again."""
    since = time.time()
    machine = fleet.machines[name]
    machine.cut_power()
    time.sleep(CUT_S)
    yield questions(fleet, since)
    yield told(fleet, replicas_down(fleet, name))
    machine.boot()
    units = [unit for plan in fleet.plans.values() for kind in ("mirror", "rag") for unit in plan.units(kind)]

    def states() -> dict[str, str]:
        told = machine.run("systemctl", "is-active", *units, check=False).stdout.split()
        return dict(zip(units, told, strict=True))

    took = wait_until(
        lambda: set(states().values()) == {"active"},
        BACK_WITHIN_S,
        lambda: f"its services run again: {states()}",
    )
    yield Check("its services run again by themselves", held=True, seen=f"after {took:.0f} s")
    yield fresh(fleet)
    yield calm(fleet)
    yield questions(fleet, since)


def told(fleet: Fleet, expected: Iterable[Alert]) -> Check:
    """Wait until health tells of all that is expected, while it lasts. What is not told does not end the step."""
    wanted = tuple(expected)

    def missing() -> list[str]:
        firing = [one for site in {alert.site for alert in wanted} for one in _firing(fleet, site)]
        left = [alert for alert in wanted if not any(alert.fits(other) for other in firing)]
        return [f"{alert.site}: {alert.rule} {alert.subject}" for alert in left]

    what = "health tells of it"
    try:
        took = wait_until(lambda: not missing(), TOLD_WITHIN_S, lambda: f"not told: {', '.join(missing())}")
    except AppiaError as error:
        return Check(what, held=False, seen=str(error))
    return Check(what, held=True, seen=f"{len(wanted)} alerts, after {took:.0f} s more")


def _firing(fleet: Fleet, site: str) -> list[Alert]:
    """The alerts that fire at a site; none where its health does not answer, which may be what hurts it."""
    try:
        return [Alert(site, one["rule"], one["subject"]) for one in fleet.alerts(site)["firing"]]
    except NO_ANSWER:
        return []


def replicas_down(fleet: Fleet, machine: str) -> tuple[Alert, ...]:
    """The alerts that have to come where the replicas of a machine are gone."""
    names = [(site, name) for site, plan in fleet.plans.items() for name in plan.replica_names]
    return tuple(
        Alert(site, "service-down", f"rag/{name}") for site, name in names if name.startswith(f"{machine}-")
    )


def seen_by_a_parted_ingester(fleet: Fleet, site: str) -> tuple[Alert, ...]:
    """The alerts of health on a machine that is parted from all others: to it all of them are gone."""
    plan = fleet.plans[site]
    gone = (Alert(site, "service-down", f"rag/{name}") for name in plan.replica_names)
    return (Alert(site, "etcd-down"), *gone)
