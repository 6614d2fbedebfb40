"""Steps that put a release onto the machines: from nothing, once more, another one, and one that does not work."""

from __future__ import annotations

import fnmatch
import time
from typing import TYPE_CHECKING

from fleet.figures import read_record, span
from fleet.fleet import AS_OPERATOR, MEDIA, NO_ANSWER, RATE, wait_until
from fleet.story import Check
from fleet.traffic import OFFICE_DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleet.fleet import Fleet, Versions
    from fleet.playbooks import Played

INSTALL_S, UPGRADE_S = 900.0, 1200.0
FRESH_S = 5.0
"""How old the newest event may be that a replica on another machine knows."""
CATCH_UP_S = 90.0
FIRST_QUESTIONS = 20
NOT_OURS = ("disk-*", "inodes-*", "service-restarting")
"""Alerts about this computer's own disk, which all machines share, and one that tells of a whole hour."""


def right(played: Played) -> Check:
    """Whether a playbook did what it was to do."""
    seen = f"{played.seconds:.0f} s, {played.changed} changes on {len(played.recap)} machines"
    what = f"{played.playbook} goes well"
    return Check(what, played.is_right, seen if played.is_right else f"{seen}; {played.last_words()}")


def questions(fleet: Fleet, begin: float) -> Check:
    """Whether every question since `begin` was answered."""
    seen = span(read_record(fleet.record), begin, time.time())
    said = f"{seen.asked} asked, {len(seen.failed)} failed, the longest took {seen.slowest_s:.2f} s"
    what = "the analyst asks on, and every question is answered"
    return Check(what, fleet.is_asking() and seen.asked > 0 and not seen.failed, said)


def fresh(fleet: Fleet) -> Check:
    """Wait until every replica knows events of the last seconds."""
    took = wait_until(
        lambda: fleet.all_newer_than(FRESH_S),
        CATCH_UP_S,
        lambda: f"every replica knows the newest events: {fleet.ages()}",
    )
    return Check(
        f"every replica knows events younger than {FRESH_S:.0f} s", held=True, seen=f"after {took:.0f} s"
    )


def calm(fleet: Fleet) -> Check:
    """Wait until no alert fires any more at any site, but `NOT_OURS`."""

    def firing() -> list[str]:
        try:
            found = [(site, one) for site in fleet.plans for one in fleet.alerts(site)["firing"]]
        except NO_ANSWER as error:
            return [f"health does not answer: {error}"]
        return [
            f"{site}: {one['rule']} {one['subject']}"
            for site, one in found
            if not _is_one_of(NOT_OURS, one["rule"])
        ]

    took = wait_until(lambda: not firing(), CATCH_UP_S, lambda: f"no alert is left: {', '.join(firing())}")
    return Check("no alert is left", held=True, seen=f"after {took:.0f} s")


def _is_one_of(patterns: tuple[str, ...], name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def install(fleet: Fleet, site: str) -> Iterator[Check]:
    """Make the secrets of a site and install it."""
    for playbook in ("keys.yml", "site.yml"):
        played = fleet.play(site, playbook, INSTALL_S)
        yield right(played)
        played.raise_unless_right()


def install_again(fleet: Fleet) -> Iterator[Check]:
    """A second run changes nothing."""
    for site in fleet.plans:
        played = fleet.play(site, "site.yml", INSTALL_S)
        yield right(played)
        yield Check(f"nothing is changed at site {site}", played.changed == 0, f"{played.changed} changes")


def begin(fleet: Fleet) -> Iterator[Check]:
    """Feed a day that is over, then what happens now; ask all the time from here on."""
    fleet.hand_out()
    first, *_ = fleet.plans.values()
    summary = fleet.feed(first.name, OFFICE_DAY, "cicflowmeter")
    yield Check(
        "a recorded day is acknowledged",
        summary["acknowledged"] == summary["read"],
        f"{summary['read']} events",
    )
    for sensor in fleet.sensors.values():
        sensor.start(RATE)
    yield fresh(fleet)
    since = time.time()
    fleet.start_analyst()
    wait_until(
        lambda: len(read_record(fleet.record)) >= FIRST_QUESTIONS, CATCH_UP_S, lambda: "the analyst asks"
    )
    yield questions(fleet, since)


def seal(fleet: Fleet) -> Iterator[Check]:
    """The day that is over is sealed, and every replica serves it."""
    first, *_ = fleet.plans.values()
    line = f"{AS_OPERATOR} appia seal {OFFICE_DATE} --state /var/lib/appia/{first.name}"
    since = time.time()
    fleet.machines[first.ingester].ssh(line, timeout_s=300)

    def served() -> bool:
        told = fleet.told(first.name, "sealed")
        return set(told) >= set(first.replica_names) and all(OFFICE_DATE in days for days in told.values())

    took = wait_until(served, CATCH_UP_S, lambda: f"every replica serves {OFFICE_DATE} sealed")
    yield Check("every replica serves the sealed day", held=True, seen=f"after {took:.0f} s")
    yield questions(fleet, since)


OFFICE_DATE = "2026-11-20"


def releases(fleet: Fleet) -> dict[str, str]:
    """The release in use on each machine."""
    return {
        name: fleet.machines[name].ssh("readlink /opt/appia/current").stdout.strip() for name in fleet.names
    }


def _all_use(fleet: Fleet, bundle: str) -> Check:
    wanted = f"releases/{bundle.removeprefix(f'{MEDIA}/')}"
    found = releases(fleet)
    others = {name: release for name, release in found.items() if release != wanted}
    return Check(f"every machine uses {wanted}", not others, str(others) if others else "")


def upgrade(fleet: Fleet, versions: Versions) -> Iterator[Check]:
    """One machine after the other takes another release, while everybody works on."""
    yield from _change(
        fleet,
        versions.second,
        lambda site: fleet.play(site, "upgrade.yml", UPGRADE_S, appia_bundle_on_node=versions.second),
    )


def roll_back(fleet: Fleet, versions: Versions) -> Iterator[Check]:
    """Back to the release before, by the first site; others on the same machines follow as they do in an upgrade."""
    first, *_ = fleet.plans

    def play(site: str) -> Played:
        if site == first:
            return fleet.play(site, "rollback.yml", UPGRADE_S)
        return fleet.play(site, "upgrade.yml", UPGRADE_S, appia_bundle_on_node=versions.first)

    yield from _change(fleet, versions.first, play)


def _change(fleet: Fleet, bundle: str, play: Callable[[str], Played]) -> Iterator[Check]:
    since = time.time()
    for site in fleet.plans:
        yield right(play(site))
    yield _all_use(fleet, bundle)
    yield fresh(fleet)
    yield calm(fleet)
    yield questions(fleet, since)


def upgrade_broken(fleet: Fleet, versions: Versions) -> Iterator[Check]:
    """A release that does not work stops at the first machine, which goes back by itself."""
    since = time.time()
    first, *_ = fleet.plans
    played = fleet.play(first, "upgrade.yml", UPGRADE_S, appia_bundle_on_node=versions.broken)
    yield Check(
        "the playbook says that it failed",
        played.status != 0,
        f"status {played.status} after {played.seconds:.0f} s",
    )
    yield Check("on one machine alone", len(played.failed) == 1, ", ".join(played.failed))
    yield _all_use(fleet, versions.second)
    yield fresh(fleet)
    yield calm(fleet)
    yield questions(fleet, since)
