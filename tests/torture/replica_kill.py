"""Three real replicas are killed and frozen, one at a time, under several clients that ask all the while.

Events go on coming in meanwhile, and days are sealed. No question may fail, and every answer has to be right: those
about a day that does not change are what they were at the beginning; of the days that grow, every event that all
replicas had shown before is there, once, whether its day is being sealed or not.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq
from real_etcd.member import free_ports
from torture.processes import Service
from torture.suite import Outcome, Suite
from torture.workload import NOON, make_event

from services.cli.store_folder import model_store_folder
from services.common.days.names import StateNames
from services.common.errors import AppiaError
from services.common.registry.connect import open_registry
from services.common.registry.known import KnownSet
from services.common.rpc_client import RpcClient
from services.common.wire.keys import new_key_ring, read_key_ring
from services.feed.readers import reader_of
from services.feed.readers.port import ReadOptions
from services.feed.reliable import ReliableSender, ReliableSettings, new_origin
from services.rag.client import KIND, Client, FixedReplicas, Patience
from services.rag.connect import Where, connect

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from torture.suite import Budget

SAMPLE = Path(__file__).parents[2] / "samples" / "office-day.csv.gz"
BASE_EVENTS = 120
REPLICAS = 3
CLIENTS = 2  # that live long; one more is made anew for each question
PATIENCE = Patience(overall_s=10.0)
PATIENCE_S = 60.0
PAUSE_S = 0.02  # between the questions of a client
BATCH, BATCH_EVERY_S = 4, 0.1
DAY_EVENTS = 300  # of a day that grows, before the next begins
LOOKED_AT = 100  # events before the last that all replicas have shown
FREEZES = 0.25
FROZEN_S = (0.3, 3.5)
SEALED_EVERY = 4  # rounds


def grown_event(number: int) -> tuple[str, bytes, int]:
    """The id of an event, the event, and its time in nanoseconds: they come in the order of their times."""
    seconds = NOON + number // DAY_EVENTS * 86_400 + number % DAY_EVENTS
    return f"event-grown-{number}", make_event(f"grown-{number}", seconds), seconds * 1_000_000_000


class Fleet:
    """An ingester, three replicas at addresses that stay the same, and a day that is sealed and does not change."""

    def __init__(self, folder: Path, ends: ExitStack) -> None:
        self.names = StateNames(folder / "state")
        new_key_ring(self.names.keys)
        self.names.models.symlink_to(model_store_folder(None, os.environ))
        at = {"state": str(self.names.root), "keys": str(self.names.keys)}
        self.ingester = Service(folder, "ingester", "services.ingester.main", at)
        ends.callback(self.ingester.end)
        self.ingester.wait_ready()
        self.context = ends.enter_context(zmq.Context())
        endpoints = self.ingester.ready["endpoints"]
        settings = ReliableSettings(endpoints["v2"], new_origin("events"), backfill=True)
        self.sender = ReliableSender(self.context, settings, read_key_ring(self.names.keys))
        ends.callback(self.sender.close)
        self._control = RpcClient(self.context, endpoints["control"])
        ends.callback(self._control.close)
        self.base_ids = self._feed_base()
        self.replicas = [
            self._replica(folder, number, port) for number, port in enumerate(free_ports(REPLICAS))
        ]
        for replica in self.replicas:
            ends.callback(replica.end)
        for replica in self.replicas:
            replica.wait_ready()

    def _feed_base(self) -> list[str]:
        """Feed real traffic of one day and seal it; gives its ids by time."""
        items = reader_of("cicflowmeter").read(str(SAMPLE), ReadOptions())
        events: list[Any] = list(itertools.islice(items, BASE_EVENTS))
        for event in events:
            self.sender.send(event.SerializeToString())
        self.sender.flush()
        (self.base_day,) = self.names.days()
        self.seal(self.base_day)
        events.sort(key=lambda event: event.event_timestamp.ToNanoseconds())
        return [event.event_id for event in events]

    def _replica(self, folder: Path, number: int, port: int) -> Service:
        """Start one at an address that it keeps, as `appia up` does."""
        name = f"rag-{number}"
        at = {"state": str(self.names.root), "name": name, "bind": f"tcp://127.0.0.1:{port}"}
        return Service(folder, name, "services.rag.main", at)

    def seal(self, day: str) -> None:
        """Seal a day; blocks. Raises AppiaError where it fails."""
        job = self._control.call("seal", {"day": day}, 10.0)["job"]
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            found = self._control.call("seal_status", {"job": job}, 10.0)
            if found["state"] == "failed":
                raise AppiaError(f"sealing {day} failed: {found['error']}")
            if found["state"] == "done":
                return
            time.sleep(0.05)
        raise AppiaError(f"sealing {day} took more than {PATIENCE_S:g} s")


class Growth:
    """A thread that sends events without end. Those up to `shown` every replica has shown."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.acknowledged = 0
        self.shown = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.failure = ""

    @property
    def day(self) -> str:
        """The day of the newest event."""
        seconds = NOON + (self.acknowledged - 1) // DAY_EVENTS * 86_400
        return time.strftime("%Y-%m-%d", time.gmtime(seconds))

    def _run(self) -> None:
        sender = self._fleet.sender
        try:
            for number in itertools.count():
                sender.send(grown_event(number)[1])
                if number % BATCH == BATCH - 1:
                    sender.flush()
                    self.acknowledged = number + 1
                    if self._stop.wait(BATCH_EVERY_S):
                        return
        except AppiaError as error:
            self.failure = str(error)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def confirm(self) -> None:
        """Wait until each replica shows all that is acknowledged now. Raises AppiaError where it does not."""
        wanted = self.acknowledged
        until = time.monotonic() + PATIENCE_S
        for replica in self._fleet.replicas:
            with Client(FixedReplicas([replica.ready["endpoint"]]), self._fleet.context, PATIENCE) as client:
                while (wrong := self.wrong_in(client, wanted)) and time.monotonic() < until:
                    time.sleep(0.05)
            if wrong:
                raise AppiaError(f"{replica.name} does not come to show all that is acknowledged: {wrong}")
        self.shown = wanted

    def wrong_in(self, client: Client, upto: int) -> str:
        """What is wrong with the answer about the last events up to number `upto`; empty where nothing is."""
        first = max(0, upto - LOOKED_AT)
        if first == upto:
            return ""
        span = {"since": grown_event(first)[2], "until": grown_event(upto - 1)[2] + 1}
        found = [event["event_id"] for event in client.list(span, limit=1000, order="oldest")["events"]]
        wanted = [grown_event(number)[0] for number in range(first, upto)]
        if found == wanted:
            return ""
        lost, more = len(set(wanted) - set(found)), len(found) - len(set(found))
        return (
            f"of {len(wanted)} events that were shown before, {lost} are missing and {more} are there twice"
        )


class Questions:
    """What is asked, and what the right answer is."""

    def __init__(self, fleet: Fleet, growth: Growth) -> None:
        """Ask every replica while it is quiet; all of them have to say the same. Raises AppiaError otherwise."""
        self._growth = growth
        self._days = {"days": fleet.base_day}
        self._event = fleet.base_ids[BASE_EVENTS // 2]
        said = []
        for replica in fleet.replicas:
            with Client(FixedReplicas([replica.ready["endpoint"]]), fleet.context, PATIENCE) as client:
                said.append({name: ask(client) for name, ask in self._fixed().items()})
        self._right = said[0]
        if any(one != self._right for one in said) or self._right["list"] != fleet.base_ids:
            raise AppiaError(f"the replicas do not agree before anything happens: {said}")

    def _fixed(self) -> dict[str, Callable[[Client], Any]]:
        """Questions whose answer does not change, by name."""
        return {
            "similar": lambda client: _groups(client.similar(self._event, 5, filters=self._days)),
            "search": lambda client: _groups(client.search("a scan of many ports", 5, self._days)),
            "list": lambda client: _ids(client.list(self._days, limit=1000, order="oldest")),
            "get": lambda client: client.get(self._event)["event"],
        }

    def __iter__(self) -> Iterator[Callable[[Client], str]]:
        """Each gives what is wrong with its answer."""
        for name, ask in self._fixed().items():
            yield lambda client, name=name, ask=ask: (  # type: ignore[misc]
                ""
                if ask(client) == self._right[name]
                else f"another answer to {name!r} than at the beginning"
            )
        yield lambda client: self._growth.wrong_in(client, self._growth.shown)


def _ids(answer: dict[str, Any]) -> list[str]:
    return [event["event_id"] for event in answer["events"]]


def _groups(answer: dict[str, Any]) -> list[Any]:
    return [
        (group["narrative"], group["count"], [hit["event_id"] for hit in group["examples"]])
        for group in answer["groups"]
    ]


class Asker:
    """A thread that asks as a user does, with one client all the while or a new one for each question."""

    def __init__(self, fleet: Fleet, questions: Questions, *, is_new_each_time: bool) -> None:
        self.answers, self.slowest_s = 0, 0.0
        self.failures: list[str] = []
        self._fleet, self._questions = fleet, questions
        self._is_new_each_time = is_new_each_time
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        if self._is_new_each_time:
            for question in itertools.cycle([*self._questions]):
                if self._stop.wait(PAUSE_S):
                    return
                self._ask(lambda question=question: self._as_a_new_client(question))  # type: ignore[misc]
        known = KnownSet(open_registry("file", self._fleet.names.root), KIND)
        known.refresh()
        with closing(Client(known, self._fleet.context, PATIENCE)) as client:
            for question in itertools.cycle([*self._questions]):
                if self._stop.wait(PAUSE_S):
                    return
                self._ask(lambda question=question: question(client))  # type: ignore[misc]

    def _as_a_new_client(self, question: Callable[[Client], str]) -> str:
        with connect(Where(self._fleet.names.root), PATIENCE) as client:
            return question(client)

    def _ask(self, ask: Callable[[], str]) -> None:
        began = time.monotonic()
        try:
            wrong = ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed question
            wrong = f"{type(error).__name__}: {error}"
        took_s = time.monotonic() - began
        if wrong:
            self.failures.append(f"{wrong} (after {took_s:.2f} s)")
        self.slowest_s = max(self.slowest_s, took_s)
        self.answers += 1

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


class Load:
    """All askers and the growth, as long as the block runs."""

    def __init__(self, fleet: Fleet, growth: Growth) -> None:
        self.growth = growth
        questions = Questions(fleet, growth)
        self.askers = [Asker(fleet, questions, is_new_each_time=False) for _ in range(CLIENTS)]
        self.askers.append(Asker(fleet, questions, is_new_each_time=True))

    def start(self, ends: ExitStack) -> None:
        threads: list[Growth | Asker] = [self.growth, *self.askers]
        for one in threads:
            one.start()
            ends.callback(one.stop)
        while not (self.growth.acknowledged or self.growth.failure):
            time.sleep(0.01)

    def wait_for_more(self) -> None:
        """Until each client has put two more questions to whoever is there."""
        wanted = [asker.answers + 2 for asker in self.askers]
        while any(asker.answers < least for asker, least in zip(self.askers, wanted, strict=True)):
            time.sleep(0.01)

    def settle(self, number: int, outcome: Outcome) -> None:
        """Take what failed since the last time over."""
        for asker in self.askers:
            failures, asker.failures = asker.failures, []
            for failure in failures:
                outcome.count("failed")
                outcome.fault(number, failure)
        if self.growth.failure:
            outcome.fault(number, f"events are not taken any more: {self.growth.failure}")

    def sum_up(self, outcome: Outcome) -> None:
        """Count what was asked."""
        outcome.count("questions", sum(asker.answers for asker in self.askers))
        outcome.count("failed", 0)
        outcome.count("events", self.growth.acknowledged)
        outcome.highest("slowest answer, ms", int(1000 * max(asker.slowest_s for asker in self.askers)))


def _harm(fleet: Fleet, load: Load, luck: random.Random, outcome: Outcome) -> None:
    """Freeze or kill one replica, let clients ask the others, and bring it back."""
    victim = luck.choice(fleet.replicas)
    time.sleep(luck.uniform(0.0, 0.2))
    if luck.random() < FREEZES:
        outcome.count("freezes")
        victim.freeze()
        time.sleep(luck.uniform(*FROZEN_S))
        if luck.random() < 0.5:  # else it is killed as it is
            victim.thaw()
            load.wait_for_more()
    victim.end()
    outcome.count("kills")
    load.wait_for_more()
    victim.launch()
    victim.wait_ready()


def _round(fleet: Fleet, load: Load, luck: random.Random, outcome: Outcome, number: int) -> None:
    failures: list[str] = []

    def seal() -> None:
        try:
            fleet.seal(load.growth.day)
        except AppiaError as error:
            failures.append(str(error))

    sealing = threading.Thread(target=seal)
    if number % SEALED_EVERY == 0:
        outcome.count("seals")
        sealing.start()
    try:
        _harm(fleet, load, luck, outcome)
    finally:
        if sealing.ident is not None:
            sealing.join()
    load.growth.confirm()
    for failure in failures:
        outcome.fault(number, failure)


def run(budget: Budget) -> Outcome:
    """Do the rounds on one system."""
    outcome = Outcome()
    with ExitStack() as ends:
        fleet = Fleet(budget.folder, ends)
        load = Load(fleet, Growth(fleet))
        load.start(ends)
        for number in budget.numbers(outcome):
            try:
                _round(fleet, load, budget.random(number), outcome, number)
            except AppiaError as error:
                outcome.fault(number, str(error))
            load.settle(number, outcome)
            outcome.rounds += 1
        load.sum_up(outcome)
    return outcome


SUITE = Suite(
    "replica-kill",
    "no question fails and every answer is right while replicas are killed and frozen",
    "kills of one of three replicas",
    20,
    1000,
    run,
    weight=2,
)
