"""The fleet: five machines, two sites, their sensors, and an analyst; made, started, looked at, and taken away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.bundles import derive, place, version_of
from fleet.playbooks import Playbooks, Played
from fleet.sensors import Sensor, in_place
from fleet.sites import Plan, Written, desks, intake
from fleet.traffic import FlowMeterTraffic, ZeekTraffic, event_ids, office_rows

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fleet.machines import Machines
    from fleet.traffic import Traffic

DESK = "desk"
MEDIA = Path("/media")
RATE = 20.0
_TESTS = Path(__file__).parents[1]
ALL_WITHIN_S = 60.0
AS_OPERATOR = ". /etc/appia/operator.env;"
"""What a shell on the ingester's machine does first, so that commands ask as the operator."""
_LOOK_S = 0.5
NO_ANSWER = (AppiaError, OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired)
"""What `Fleet.alerts` may raise where a machine or its health is not there, or says something else."""

SITE_A = Plan(
    "a", "ing-a", ("rag-1", "rag-2", "rag-3"), ("ing-a", "ing-b", "rag-1"), ("sensor-a",), (1,), 9604
)
SITE_B = Plan("b", "ing-b", ("rag-1", "rag-2", "rag-3"), (), ("sensor-b",), (2,), 9605)
SMALL = Plan("a", "ing-a", ("rag-1",), ("rag-1",), ("sensor-a",), (1, 2), 9604)
"""One ingester, and one machine with two replicas: what fits in three minutes."""


@dataclass(frozen=True)
class Versions:
    """The bundles that there are, as folders on the machines, and the version of each."""

    first: str
    second: str
    broken: str


def wait_until(there: Callable[[], bool], within_s: float, what: Callable[[], str]) -> float:
    """Wait for something; gives the seconds that it took. Raises AppiaError with `what` where it does not come."""
    began = time.monotonic()
    while not there():
        if time.monotonic() - began > within_s:
            raise AppiaError(f"{what()}: not within {within_s:.0f} s")
        time.sleep(_LOOK_S)
    return time.monotonic() - began


class Fleet:
    """All of it. `plans` are the sites; the first has an etcd, which the others use too."""

    def __init__(self, machines: Machines, folder: Path, plans: Sequence[Plan]) -> None:
        """Nothing is there yet."""
        self.machines, self.folder = machines, folder
        self.plans = {plan.name: plan for plan in plans}
        self._first = plans[0]
        self.record = folder / "questions.jsonl"
        self.sensors: dict[str, Sensor] = {}
        self._analyst: subprocess.Popen[bytes] | None = None
        self.played: list[Played] = []
        self.fed: dict[str, set[str]] = {name: set() for name in self.plans}
        self.environment: dict[str, str] = {}  # of playbooks, beside where the vault's password is

    @property
    def names(self) -> list[str]:
        """All machines."""
        return list(dict.fromkeys(name for plan in self.plans.values() for name in plan.machines))

    def switch_on(self, bundle: Path) -> Versions:
        """Make bundles, machines and inventories. Blocks for a few seconds."""
        shelf = self.folder / "bundles"
        version = version_of(bundle)
        place(bundle, shelf / version)
        second, broken = (f"{version}.{number}" for number in (1, 2))
        derive(bundle, shelf / second, second)
        derive(bundle, shelf / broken, broken, broken=True)
        self.machines.add(*self.names, binds={shelf: MEDIA})
        for name in (DESK, *(sensor for plan in self.plans.values() for sensor in plan.sensors)):
            self.machines.add_namespace(name)
        self.written = {
            name: Written(plan, self.folder / "inventories", self.machines, (DESK,))
            for name, plan in self.plans.items()
        }
        self.write_inventories(str(MEDIA / version))
        return Versions(str(MEDIA / version), str(MEDIA / second), str(MEDIA / broken))

    def write_inventories(self, bundle: str) -> None:
        """Write down what there is, and how it is reached: again after that changed. `bundle` is a folder there."""
        for name, written in self.written.items():
            written.write(bundle, None if name == self._first.name else self._first)

    def play(self, site: str, playbook: str, within_s: float, **variables: Any) -> Played:
        """Play a playbook for one site; blocks until it ends. See Playbooks.play."""
        written = self.written[site]
        books = Playbooks(
            written.hosts, self.folder / "ansible.log", {**written.environment, **self.environment}
        )
        played = books.play(playbook, within_s, **variables)
        self.played.append(played)
        return played

    def hand_out(self) -> None:
        """Give the analyst and the sensors what they need; the secrets have to be there."""
        members = tuple(self.machines[name].address for name in self._first.members)
        desks(self.written, self.folder / "desk", members)
        rows = office_rows()
        for name, plan in self.plans.items():
            traffic: Traffic = FlowMeterTraffic(rows) if plan is self._first else ZeekTraffic(rows)
            for sensor in plan.sensors:
                keys = intake(self.written[name], self.folder / sensor, self.machines[plan.ingester].address)
                self.sensors[sensor] = Sensor(
                    self.machines.network.places[sensor], self.folder, traffic, keys
                )

    def feed(self, site: str, path: Path, form: str) -> dict[str, Any]:
        """Send a whole file from a sensor's place, and wait until all of it is acknowledged; gives the summary."""
        sensor = self.plans[site].sensors[0]
        words = ["feed", str(path), "--format", form, *self.sensors[sensor].target, "--json"]
        summary = dict(json.loads(self.run_at(sensor, [sys.executable, "-m", "services.cli.main", *words])))
        self.fed[site] |= set(event_ids(path, form))
        return summary

    def start_analyst(self) -> None:
        """Let the analyst begin to ask."""
        words = [
            sys.executable,
            "-m",
            "fleet.analyst",
            str(self.folder / "desk/desks.json"),
            str(self.record),
        ]
        with (self.folder / "analyst.log").open("wb") as log:
            self._analyst = subprocess.Popen(
                in_place(self.machines.network.places[DESK], *words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
            )

    def is_asking(self) -> bool:
        """Whether the analyst asks."""
        return self._analyst is not None and self._analyst.poll() is None

    def stop_analyst(self) -> None:
        """Let the analyst end after the question that is being asked."""
        if self._analyst is not None:
            self._analyst.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._analyst.wait(30)
            self._analyst.kill()
            self._analyst.wait()

    def told(self, site: str, what: str) -> dict[str, Any]:
        """What each replica of a site says, see holdings.py; blocks for seconds."""
        words = [sys.executable, "-m", "fleet.holdings", str(self.folder / "desk/desks.json"), site, what]
        return dict(json.loads(self.run_at(DESK, words)))

    def ages(self) -> dict[str, float | str]:
        """How old the newest event of each replica is, in seconds; in its place why that is not known."""
        found: dict[str, float | str] = {}
        for site, plan in self.plans.items():
            found |= dict.fromkeys(plan.replica_names, "It is not registered.")
            try:
                told = self.told(site, "newest")
            except AppiaError as error:
                told = dict.fromkeys(plan.replica_names, str(error))
            found |= {name: "It has none." if age is None else age for name, age in told.items()}
        return found

    def all_newer_than(self, seconds: float) -> bool:
        """Whether every replica of every site has an event that is no older."""
        return all(isinstance(age, float) and age <= seconds for age in self.ages().values())

    def keep_journals(self, folder: Path) -> None:
        """Write what the machines logged into `folder`: they are about to go. One that is off has said its last."""
        for machine in self.machines:
            if machine.is_on():
                logged = machine.run(
                    "journalctl", "--boot=all", "--no-pager", "--output=short-precise", check=False
                )
                (folder / f"{machine.name}.journal").write_text(logged.stdout)

    def wait_for_all(self, site: str, events: int) -> dict[str, list[str] | str]:
        """What every replica has, asked until each has so many events or a minute is over."""
        until = time.monotonic() + ALL_WITHIN_S
        while True:
            told = self.told(site, "events")
            missing = set(self.plans[site].replica_names) - set(told)
            whole = not missing and all(isinstance(has, list) and len(has) >= events for has in told.values())
            if whole or time.monotonic() > until:
                return {**told, **dict.fromkeys(missing, "It is not registered.")}
            time.sleep(_LOOK_S)

    def alerts(self, site: str) -> Mapping[str, Any]:
        """What health of a site says, asked on its machine as an administrator does."""
        plan = self.plans[site]
        line = f"{AS_OPERATOR} appia alerts list --state /var/lib/appia/{site} --json"
        return dict(json.loads(self.machines[plan.ingester].ssh(line, check=False).stdout))

    def run_at(self, place_name: str | None, words: Sequence[str]) -> str:
        """A program of this computer at a place on the network, or at no other than its own.

        Raises AppiaError where it fails.
        """
        places = self.machines.network.places
        run = subprocess.run(
            words if place_name is None else in_place(places[place_name], *words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
        )
        if run.returncode != 0:
            raise AppiaError(
                f"{' '.join(words[2:5])} at {place_name} ended with {run.returncode}: {run.stderr[-800:]}"
            )
        return run.stdout

    def remove(self) -> None:
        """End what runs on this computer; the machines are taken away by who made them."""
        self.stop_analyst()
        for sensor in self.sensors.values():
            sensor.remove()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_TESTS), "NO_COLOR": "1"}
