"""The real ingester is killed, at random moments and at named system calls, under a real sender; so is its sealer.

Everything that the sender had acknowledged, and everything that it sends again, must then be shown by a real replica:
each event once, while its day is open, while it is sealed, and after. The points are those of suite `crash`; here they
come in the threads, sockets and processes of the product (torture/crash_ingester.py).
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import zmq
from real_etcd.member import free_ports
from torture.processes import Service
from torture.suite import Outcome, Suite
from torture.workload import DAY_S, DAYS, NOON, make_event

from services.cli.store_folder import model_store_folder
from services.common.days.names import StateNames
from services.common.days.verify import verify_day
from services.common.errors import AppiaError
from services.common.rpc_client import RpcClient, RpcTimeout
from services.common.wire.keys import new_key_ring, read_key_ring
from services.feed.reliable import ReliableSender, ReliableSettings, new_origin
from services.rag.client import Client, FixedReplicas, Patience

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from torture.suite import Budget

FATES = ("moment", "call", "sealer", "start", "call", "stop", "moment", "call")
MOMENT_S = 1.5
CALL_WITHIN_S = 5.0
SEALER_S = 0.9  # somewhat less than a sealer takes to start and work
PATIENCE_S = 60.0
PAGE = 1000
_CHANCE = ("registry/", "run/")  # files whose names are drawn, or that are written by the clock


class System:
    """An ingester that can be killed at a point, a sender, a replica, and all events that were ever sent."""

    def __init__(self, folder: Path, ends: ExitStack) -> None:
        self.names = StateNames(folder / "state")
        new_key_ring(self.names.keys)
        self.names.models.symlink_to(model_store_folder(None, os.environ))
        self._intake, control = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
        at = {
            "state": str(self.names.root),
            "keys": str(self.names.keys),
            "v2": self._intake,
            "control": control,
        }
        self._points = folder / "points"
        self.ingester = Service(folder, "ingester", "torture.crash_ingester", at)
        ends.callback(self.ingester.end)
        self._context = ends.enter_context(zmq.Context())
        self.sent: list[bytes] = []
        self._safe = 0  # of these, so many are acknowledged for sure
        self._sender = self._new_sender()
        ends.callback(lambda: self._sender.close())  # noqa: PLW0108 - another one may be there by then
        self.control = RpcClient(self._context, control)
        ends.callback(self.control.close)
        self.ingester.wait_ready()
        self.points, self.starting_points = self._find_points()
        replica = Service(folder, "replica", "services.rag.main", {"state": str(self.names.root)})
        ends.callback(replica.end)
        replica.wait_ready()
        where = FixedReplicas([replica.ready["endpoint"]])
        self._client = ends.enter_context(Client(where, self._context, Patience(overall_s=20.0)))

    def _find_points(self) -> tuple[list[str], list[str]]:
        """Let the ingester do everything once, kill it, start it: gives the points of its work, and of a start."""
        for number in range(40):
            self.send(number % len(DAYS))
        self.flush()
        self.seal(DAYS[0])
        every = self._passed()
        self.ingester.end()
        self.ingester.launch()
        self.ingester.wait_ready()
        starting = self._passed()
        return [point for point in every if point not in starting], starting

    def _passed(self) -> list[str]:
        """The points that the ingester has passed since its start."""
        self._points.unlink(missing_ok=True)
        self.ingester.tell(f"passed {self._points}")
        until = time.monotonic() + PATIENCE_S
        while not self._points.exists() and time.monotonic() < until:
            time.sleep(0.01)
        found = self._points.read_text().splitlines()
        return [point for point in found if not point.split()[2].startswith(_CHANCE)]

    def _new_sender(self) -> ReliableSender:
        settings = ReliableSettings(self._intake, new_origin("events"), backfill=True, batch_wait_s=0.02)
        return ReliableSender(self._context, settings, read_key_ring(self.names.keys))

    def send(self, days_back: int) -> None:
        """Send one new event."""
        number = len(self.sent)
        self.sent.append(make_event(f"{number}", NOON - DAY_S * days_back + number))
        self._sender.send(self.sent[-1])

    def replace_sender(self) -> None:
        """Let the sender die; another one, which does not know what was acknowledged, sends all of it again."""
        self._sender.close()
        self._sender = self._new_sender()
        for event in self.sent[self._safe :]:
            self._sender.send(event)

    def flush(self) -> None:
        """Wait until all is acknowledged. Raises AppiaError where that takes too long."""
        self._sender.flush()
        self._safe = len(self.sent)

    def feed(self, luck: random.Random, is_over: Callable[[], bool]) -> None:
        """Send without a pause until something is over or the ingester is gone."""
        while not is_over() and self.ingester.process.poll() is None:
            for _ in range(luck.randint(1, 8)):
                self.send(luck.randrange(len(DAYS)))
            self._sender.poll()
            time.sleep(0.01)

    def ask_to_seal(self, day: str) -> str | None:
        """Queue the sealing of a day; gives its job, None where there is nothing to seal."""
        try:
            return str(self.control.call("seal", {"day": day}, 10.0)["job"])
        except RpcTimeout:
            raise
        except AppiaError:
            return None

    def seal(self, day: str) -> None:
        """Seal a day and wait for that. Raises AppiaError where it fails."""
        job = self.ask_to_seal(day)
        until = time.monotonic() + PATIENCE_S
        while job is not None:
            found = self.control.call("seal_status", {"job": job}, 10.0)
            if found["state"] == "failed" or (found["report"] or {}).get("lost"):
                raise AppiaError(f"sealing {day} says {found}")
            if found["state"] == "done":
                return
            if time.monotonic() > until:
                raise AppiaError(f"sealing {day} takes too long: {found}")
            time.sleep(0.05)

    def sealer(self) -> int | None:
        """The process that seals now."""
        for listing in Path(f"/proc/{self.ingester.process.pid}/task").glob("*/children"):
            with suppress(OSError):
                for child in listing.read_text().split():
                    if b"services.ingester.sealer" in Path(f"/proc/{child}/cmdline").read_bytes():
                        return int(child)
        return None

    def wrong(self) -> str:
        """Wait until the replica shows as many events as were sent; says what is wrong with those that it shows."""
        until = time.monotonic() + PATIENCE_S
        while self._client.stats()["rows"] < len(self.sent) and time.monotonic() < until:
            time.sleep(0.05)
        return differences(self._shown(), len(self.sent))

    def _shown(self) -> list[str]:
        """The ids of all events, asked for in stretches of time: a day may be sealed between two of them."""
        shown: list[str] = []
        for days_back, first in itertools.product(range(len(DAYS)), range(0, len(self.sent), PAGE)):
            since = (NOON - DAY_S * days_back + first) * 1_000_000_000
            span = {"since": since, "until": since + PAGE * 1_000_000_000}
            shown += [event["event_id"] for event in self._client.list(span, limit=PAGE)["events"]]
        return shown


def differences(shown: list[str], sent: int) -> str:
    """What is wrong where these events are shown, and so many were sent and acknowledged; empty where nothing is."""
    wanted = {f"event-{number}" for number in range(sent)}
    lost, strange = sorted(wanted - set(shown)), sorted(set(shown) - wanted)
    twice = len(shown) - len(set(shown))
    if not lost and not strange and not twice:
        return ""
    return (
        f"of {sent} acknowledged events {len(lost)} are lost and {twice} are there twice, "
        f"{len(strange)} were never sent: {lost[:5]} {strange[:5]}"
    )


class Rounds:
    """Does the rounds."""

    def __init__(self, system: System, outcome: Outcome) -> None:
        """With one system."""
        self._system, self._outcome = system, outcome

    def round(self, number: int, luck: random.Random) -> None:
        """Let the ingester or its sealer die while events come in, then look. Raises AppiaError for what is wrong."""
        system = self._system
        fate = FATES[number % len(FATES)]
        if fate == "call" or luck.random() < 0.5:
            system.ask_to_seal(luck.choice(DAYS))
        how = getattr(self, f"_{fate}")(luck)
        self._outcome.count(fate)
        if system.ingester.process.poll() is not None:
            system.ingester.gone()
            if luck.random() < 0.3:
                system.replace_sender()
                self._outcome.count("senders replaced")
            system.ingester.launch()
            system.ingester.wait_ready()
        system.flush()
        self._look(number, how)
        if luck.random() < 0.4:
            system.seal(luck.choice(DAYS))
            self._outcome.count("sealed after")
            self._look(number, f"{how}, then sealed")

    def _look(self, number: int, how: str) -> None:
        wrong = self._system.wrong()
        if wrong:
            self._outcome.fault(number, f"{how}: {wrong}")

    def _moment(self, luck: random.Random) -> str:
        until = time.monotonic() + luck.uniform(0.0, MOMENT_S)
        self._system.feed(luck, lambda: time.monotonic() > until)
        self._system.ingester.process.kill()
        self._system.ingester.process.wait()
        return "killed at a random moment"

    def _call(self, luck: random.Random) -> str:
        point = luck.choice(self._system.points)
        self._system.ingester.tell(f"{point} {luck.choice((1, 1, 1, 2))}")
        until = time.monotonic() + CALL_WITHIN_S
        self._system.feed(luck, lambda: time.monotonic() > until)
        died = self._system.ingester.process.poll() is not None
        self._outcome.count("died at a call", int(died))
        if not died:
            self._system.ingester.process.kill()
            self._system.ingester.process.wait()
        return f"killed {point}"

    def _start(self, luck: random.Random) -> str:
        """Die while it feeds, and again while it starts."""
        self._moment(luck)
        point = luck.choice(self._system.starting_points)
        service = self._system.ingester
        service.gone()
        service.launch("--fatal", f"{point} 1")
        with suppress(AppiaError):
            service.wait_ready()
            service.process.kill()
        service.process.wait()
        self._outcome.count("died at its start", int(not service.heard_ready))
        return f"killed at a random moment, and {point} of the next start"

    def _sealer(self, luck: random.Random) -> str:
        """The sealer dies; the ingester lives on."""
        for days_back in range(len(DAYS)):
            self._system.send(days_back)
        self._system.flush()
        self._system.ask_to_seal(luck.choice(DAYS))
        until = time.monotonic() + PATIENCE_S
        self._system.feed(luck, lambda: self._system.sealer() is not None or time.monotonic() > until)
        until = time.monotonic() + luck.uniform(0.0, SEALER_S)
        self._system.feed(luck, lambda: time.monotonic() > until)
        found = self._system.sealer()
        if found is not None:
            with suppress(ProcessLookupError):
                os.kill(found, signal.SIGKILL)
            self._outcome.count("sealers killed")
        self._system.feed(luck, lambda: self._system.sealer() is None)
        if self._system.ingester.process.poll() is not None:
            raise AppiaError(f"the ingester ended with its sealer: {self._system.ingester.last_words()}")
        return "the sealer was killed"

    def _stop(self, luck: random.Random) -> str:
        """SIGTERM is as safe as a kill."""
        until = time.monotonic() + luck.uniform(0.0, MOMENT_S)
        self._system.feed(luck, lambda: time.monotonic() > until)
        self._system.ingester.process.terminate()
        if status := self._system.ingester.process.wait(PATIENCE_S):
            raise AppiaError(f"SIGTERM gives {status}: {self._system.ingester.last_words()}")
        return "ended by SIGTERM"

    def finish(self, number: int) -> None:
        """Seal everything and look once more, at every byte too."""
        system = self._system
        for day in DAYS:
            system.seal(day)
        self._look(number, "at the end, sealed")
        for day in system.names.days():
            for fault in verify_day(system.names.day(day)).faults:
                self._outcome.fault(number, f"at the end: {fault}")
        self._outcome.count("events", len(system.sent))


def run(budget: Budget) -> Outcome:
    """Do the rounds on one system; one that does not start any more ends them."""
    outcome = Outcome()
    with ExitStack() as ends:
        system = System(budget.folder, ends)
        rounds = Rounds(system, outcome)
        number = budget.first
        try:
            for number in budget.numbers(outcome):
                rounds.round(number, budget.random(number))
                outcome.rounds += 1
            rounds.finish(number)
        except AppiaError as error:
            outcome.fault(number, str(error))
        outcome.count("points", 0 if budget.first else len(system.points) + len(system.starting_points))
    return outcome


SUITE = Suite(
    "crash-process",
    "what is acknowledged survives kill -9 of the real processes, and a replica shows it once",
    "deaths of the ingester or its sealer",
    12,
    500,
    run,
    weight=2,
)
