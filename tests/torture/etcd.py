"""Three real members of etcd are killed, stopped and cut off, under a running ingester and replica.

What must hold: events are acknowledged and questions answered all the while, no other writer is let in, the epoch of
the writer stays what it was, and clients keep the replica. In the end another writer does take over, and the ingester
stops by itself. Cut off means the network cable of a namespace of its own; where namespaces are not possible the
member is stopped instead, and the facts say so.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import zmq
from real_etcd.cluster import SIZE, Cluster
from torture.processes import Service
from torture.suite import Outcome, Suite
from torture.workload import make_event

from services.cli.store_folder import model_store_folder
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.registry.connect import open_registry
from services.common.registry.known import KnownSet
from services.common.registry.new_keys import Given, make_registry_keys
from services.common.registry.port import RegistryUnavailable
from services.common.rpc_client import RpcClient
from services.common.wire.keys import new_key_ring, read_key_ring
from services.feed.reliable import ReliableSender, ReliableSettings, new_origin
from services.ingester.fence import Fenced
from services.ingester.fence_etcd import open_epoch
from services.rag.client import KIND, Client, Patience

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from torture.suite import Budget

NOON = 1_769_040_000 + 43_200
EVENTS = 10
ACKNOWLEDGED_WITHIN_S = 20.0
FAULT_S = (0.2, 1.5)
KINDS = ("kill", "stop", "cut")


class System:
    """An ingester and a replica whose registry is a cluster of etcd, and clients of both."""

    def __init__(self, folder: Path, ends: ExitStack) -> None:
        self.cluster = Cluster(folder)
        ends.callback(self.cluster.remove)
        self.cluster.start()
        self.names = StateNames(folder / "state")
        self._keys = self._prepare()
        at = {"state": str(self.names.root), "registry": self.cluster.url, "registry_keys": str(self._keys)}
        given = {**at, "keys": str(self.names.keys)}
        self.ingester = Service(folder, "ingester", "services.ingester.main", given)
        ends.callback(self.ingester.end)
        self.ingester.wait_ready()
        self._replica = Service(folder, "replica", "services.rag.main", at)
        ends.callback(self._replica.end)
        self._replica.wait_ready()
        self._connect(ends)
        self.epoch = self.status()["writer"]["epochs"][1]
        self.rival = open_epoch(self.cluster.url, "ingester", self._keys)
        self._sent = 0

    def _prepare(self) -> Path:
        new_key_ring(self.names.keys)
        self.names.models.symlink_to(model_store_folder(None, os.environ))
        found = self.cluster.certificates
        given = Given(ca=found.ca, certificate=found.client[0], certificate_key=found.client[1])
        make_registry_keys(Disk(), self.names.keys / "registry", given)
        return self.names.keys / "registry"

    def _connect(self, ends: ExitStack) -> None:
        context = ends.enter_context(zmq.Context())
        endpoints = self.ingester.ready["endpoints"]
        settings = ReliableSettings(endpoints["v2"], new_origin("events"), backfill=True)
        self._sender = ReliableSender(context, settings, read_key_ring(self.names.keys))
        ends.callback(self._sender.close)
        self._control = RpcClient(context, endpoints["control"])
        ends.callback(self._control.close)
        self.known = KnownSet(open_registry(self.cluster.url, self.names.root, self._keys), KIND)
        while not (self.known.refresh() and self.known.entries()):
            time.sleep(0.05)
        self.known.start()
        ends.callback(self.known.stop)
        self._client = ends.enter_context(Client(self.known, context, Patience(overall_s=10.0)))

    def status(self) -> dict[str, Any]:
        return dict(self._control.call("status", {}, 10.0))

    def feed(self) -> None:
        """Send some events and wait until they are on disk. Raises AppiaError where that takes too long."""
        for _ in range(EVENTS):
            self._sender.send(make_event(f"etcd-{self._sent}", NOON + self._sent))
            self._sent += 1
        began = time.monotonic()
        self._sender.flush()
        if time.monotonic() - began > ACKNOWLEDGED_WITHIN_S:
            raise AppiaError(f"{EVENTS} events were acknowledged only after {time.monotonic() - began:.1f} s")

    def ask(self) -> None:
        """Ask the replica that clients know. Raises AppiaError where there is no answer."""
        self._client.ask("stats", {})

    def contend(self) -> str:
        """Try to become the writer beside the one that lives: "refused", "away", or "let in"."""
        try:
            self.rival.keep()
        except Fenced:
            return "refused"
        except RegistryUnavailable:
            return "away"
        return "let in"

    def displace(self) -> bool:
        """Put another writer into etcd; whether the ingester stops by itself, saying why."""
        put = ("put", "appia/writer/ingester", "of somebody else")
        self.cluster.members[0].control(*put)
        try:
            stopped = self.ingester.process.wait(30) == 1
        except subprocess.TimeoutExpired:
            return False
        return stopped and "has taken over appia/writer/ingester" in self.ingester.log.read_text()


def _torture(system: System, luck: random.Random, outcome: Outcome, number: int) -> None:
    how, victims = luck.choice(KINDS), luck.sample(range(SIZE), luck.choice((1, 1, 2)))
    until = time.monotonic() + luck.uniform(*FAULT_S)
    outcome.count(f"{how} of {len(victims)}")
    for victim in victims:
        system.cluster.hurt(how, victim)
    try:
        while True:
            _use(system, outcome, number, f"{how} of {victims}")
            if time.monotonic() >= until:
                break
    finally:
        for victim in victims:
            system.cluster.heal(how, victim)
    if not system.cluster.wait_healthy(30):
        raise AppiaError("etcd itself did not come back within 30 s")
    _use(system, outcome, number, f"after {how} of {victims}")
    if system.status()["writer"]["epochs"][1] != system.epoch:
        outcome.fault(number, f"the epoch of the writer changed by {how} of {victims}")
        system.epoch = system.status()["writer"]["epochs"][1]


def _use(system: System, outcome: Outcome, number: int, when: str) -> None:
    for what, step in (("events taken", system.feed), ("questions answered", system.ask)):
        try:
            step()
        except AppiaError as error:
            outcome.fault(number, f"{when}: no {what}: {error}")
        else:
            outcome.count(what)
    found = system.contend()
    outcome.count(f"rival {found}")
    if found == "let in":
        outcome.fault(number, f"{when}: another writer was let in")
        system.rival.give_back()
    if not system.known.entries():
        outcome.fault(number, f"{when}: clients have lost the replica")
    if system.ingester.process.poll() is not None:
        outcome.fault(number, f"{when}: the ingester has ended")


def run(budget: Budget) -> Outcome:
    """Do the rounds on one system, and let another writer take over at the end."""
    outcome = Outcome()
    with ExitStack() as ends:
        system = System(budget.folder, ends)
        if system.cluster.wires is None:
            outcome.count("members stopped, not cut off: no network namespaces here")
        number = budget.first
        for number in budget.numbers(outcome):
            _torture(system, budget.random(number), outcome, number)
            outcome.rounds += 1
        if not system.displace():
            outcome.fault(number, "another writer took over, and the ingester went on")
        outcome.count("ingester stopped by a higher epoch")
    return outcome


SUITE = Suite(
    name="etcd",
    promise="events and questions go on without etcd; there is one writer, and nobody takes its place while it lives",
    unit="faults of one or two of three members",
    ci_rounds=20,
    full_rounds=500,
    run=run,
)
