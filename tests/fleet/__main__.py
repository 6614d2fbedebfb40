"""`python -m fleet` (with `tests` on the path; `make fleet` does that): a fleet from nothing, hurt, upgraded, counted.

Ends with 0 where everything held, with 1 where something did not, with 2 where the fleet could not be made.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fleet import hardened, hurting, installing
from fleet.bundles import built_bundle
from fleet.ending import end
from fleet.figures import read_record
from fleet.fleet import SITE_A, SITE_B, SMALL, Fleet, Versions
from fleet.image import PACKAGES, why_not
from fleet.leftovers import SCRATCH
from fleet.machines import Machines
from fleet.report import Found, write
from fleet.story import Alert, Step, Story, alert_checks, raised

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fleet.ending import End
    from fleet.sites import Plan

OF_THIS_DISK = ("disk-", "inodes-")
LIMITS = (
    (
        "The machines share one kernel, one clock and one disk. A power cut ends every process at once, and what they "
        "wrote stays; that unwritten pages are lost too is tried by `make torture` (suite `power-cut`)."
    ),
    (
        "Control groups of the machines are read-only here, so `MemoryMax`, `CPUWeight` and their sisters are accepted "
        "and not enforced."
    ),
    "A cut is at once and whole; a slow or lossy link is not tried here.",
    "Alerts about disks are left out: all machines have this computer's disk, and what fills it may be another's.",
    "Times are those of the machine above, which did the work of all machines and of the clients beside them.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked for."""
    parser = argparse.ArgumentParser("make fleet", description=__doc__)
    parser.add_argument(
        "--fast", action="store_true", help="one ingester, one machine with replicas, no upgrade"
    )
    parser.add_argument(
        "--variant",
        choices=["hardened"],
        help="another site: encrypted, closed, on machines that are closed too",
    )
    parser.add_argument(
        "--if-possible", action="store_true", help="end well where there can be no machines, and say why"
    )
    parser.add_argument("--prefix", default="fleet", help="what names of the system begin with")
    parser.add_argument(
        "--folder", type=Path, help="for everything; by default a temporary one that is removed"
    )
    parser.add_argument("--report", type=Path, help="the report, as Markdown; by default it is printed")
    chosen = parser.parse_args(arguments)
    if chosen.if_possible and (reason := why_not()):
        sys.stdout.write(f"No fleet here. {reason}\n")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as scratch:
        try:
            told = "hardened" if chosen.variant else "fast" if chosen.fast else "whole"
            report = partial(_report, chosen.report)
            found = run(chosen.folder or Path(scratch), chosen.prefix, TOLD[told], report, Path(scratch))
        except AppiaError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        except KeyboardInterrupt:
            sys.stderr.write("Interrupted; the machines are gone.\n")
            return 130
    return 1 if found.failed else 0


def _report(path: Path | None, found: Found) -> None:
    """Write it where it was asked for, and name what did not hold."""
    if path is None:
        sys.stdout.write(write(found))
    else:
        path.write_text(write(found), encoding="utf-8")
    for sentence in found.failed:
        sys.stderr.write(f"did not hold: {sentence}\n")


def run(folder: Path, prefix: str, told: Told, report: Callable[[Found], None], scratch: Path) -> Found:
    """Make a fleet in `folder`, tell a story, give what was found to `report`, and take everything away again.

    `scratch` was made for this run, and goes with it even where it is killed.
    Raises AppiaError where the fleet cannot be made, and KeyboardInterrupt after everything is gone.
    """
    bundle = built_bundle()
    story = Story()
    with Machines(folder / "machines", prefix, packages=told.packages, scratch=scratch) as machines:
        fleet = Fleet(machines, folder, told.plans)
        try:
            versions = fleet.switch_on(bundle)
            story.tell(told.steps(fleet, versions))
            found = _found(told.command, fleet, story, end(fleet, story))
            report(found)  # before anything is taken away, which may fail too
        finally:
            fleet.remove()
    return found


def _found(command: str, fleet: Fleet, story: Story, known: End) -> Found:
    alerts = [one for one in raised(story.done, known.alerts) if not one.alert.rule.startswith(OF_THIS_DISK)]
    return Found(
        command=command,
        done=story.done,
        record=read_record(fleet.record),
        holdings=known.holdings,
        played=fleet.played,
        raised=alerts,
        alert_checks=alert_checks(story.done, alerts),
        limits=LIMITS,
    )


def _small(fleet: Fleet, _: Versions) -> list[Step]:
    """What is tried in three minutes."""
    (site,) = fleet.plans
    return [
        Step("Install from nothing", partial(installing.install, fleet, site)),
        Step("Install once more", partial(installing.install_again, fleet)),
        Step("Feed and ask", partial(installing.begin, fleet)),
        Step("Seal a day", partial(installing.seal, fleet)),
        Step(
            "Part the ingester",
            partial(hurting.part_ingester, fleet, site),
            expected=hurting.seen_by_a_parted_ingester(fleet, site),
            allowed=(Alert("*", "*"),),
        ),
    ]


def _large(fleet: Fleet, versions: Versions) -> list[Step]:
    """The whole story."""
    return [
        *(Step(f"Install site {site}", partial(installing.install, fleet, site)) for site in fleet.plans),
        Step("Install once more", partial(installing.install_again, fleet)),
        Step("Feed and ask", partial(installing.begin, fleet)),
        Step("Seal a day", partial(installing.seal, fleet)),
        *_hurts(fleet),
        *_releases(fleet, versions),
    ]


def _hurts(fleet: Fleet) -> list[Step]:
    member, replica, powerless = SITE_A.members[-1], SITE_A.replicas[1], SITE_A.replicas[2]
    of_mirrors = (Alert("*", "mirror*"), Alert("*", "service-*", "mirror/*"), Alert("*", "replica-*"))
    return [
        Step(f"Cut one etcd ({member})", partial(hurting.cut_etcd, fleet, member)),
        Step(
            f"Cut the link of {replica}",
            partial(hurting.cut_replica, fleet, replica),
            expected=hurting.replicas_down(fleet, replica),
            allowed=of_mirrors,
        ),
        Step(
            "Part the ingester of site a",
            partial(hurting.part_ingester, fleet, "a"),
            expected=hurting.seen_by_a_parted_ingester(fleet, "a"),
            allowed=(Alert("a", "*"),),
        ),
        Step(
            f"Power off {powerless}",
            partial(hurting.cut_power, fleet, powerless),
            expected=hurting.replicas_down(fleet, powerless),
            allowed=of_mirrors,
        ),
    ]


def _releases(fleet: Fleet, versions: Versions) -> list[Step]:
    restarts = (
        Alert("*", "service-*"),
        Alert("*", "replica-*"),
        Alert("*", "mirror*"),
        Alert("*", "etcd-down"),
    )
    steps = {
        "Upgrade one by one": installing.upgrade,
        "Upgrade to a release that does not work": installing.upgrade_broken,
        "Go back to the release before": installing.roll_back,
    }
    return [Step(name, partial(do, fleet, versions), allowed=restarts) for name, do in steps.items()]


@dataclass(frozen=True)
class Told:
    """One story: how it is asked for, of which sites, on machines with which packages, and its steps."""

    command: str
    plans: tuple[Plan, ...]
    steps: Callable[[Fleet, Versions], list[Step]]
    packages: tuple[str, ...] = PACKAGES


TOLD = {
    "whole": Told("make fleet", (SITE_A, SITE_B), _large),
    "fast": Told("make fleet FAST=1", (SMALL,), _small),
    "hardened": Told(
        "make fleet VARIANT=hardened", (hardened.PLAN,), hardened.steps, hardened.IMAGE_PACKAGES
    ),
}


if __name__ == "__main__":
    sys.exit(main())
