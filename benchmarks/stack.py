"""Runs appia as a user does: `appia up`, `feed` and `seal` as processes of their own, and asks by its client."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from benchmarks.common import WORK, BenchError, commit, folder_bytes
from benchmarks.traffic import write_rounds
from services.cli.running import read_running
from services.common.days.names import EVENT_INDICES, INDICES, StateNames
from services.common.errors import AppiaError
from services.rag.client import Client, FixedReplicas, Patience

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.cli.running import Running

APPIA = Path(sys.executable).parent / "appia"
NAMING = Path(__file__).parent / "naming"
START_S, STOP_S, QUIET_S = 120.0, 60.0, 300.0
MARK = "bench.json"


def appia(*words: str) -> dict[str, Any]:
    """Run one command with --json and give its answer.

    Raises:
        BenchError: it failed.
    """
    done = subprocess.run([str(APPIA), *words, "--json"], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise BenchError(f"`appia {' '.join(words[:2])}` ended with exit status {done.returncode}: see above")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@contextlib.contextmanager
def running_stack(state: Path, replicas: int = 1, models: Path | None = None) -> Iterator[Running]:
    """`appia up` on a state directory for as long as the block runs; its threads are named in /proc.

    `models` is a model store to use instead of the user's own.

    Raises:
        BenchError: it did not start.
    """
    words = [str(APPIA), "up", "--state", str(state), "--replicas", str(replicas)]
    words += [] if models is None else ["--models", str(models)]
    state.parent.mkdir(parents=True, exist_ok=True)
    log_path = state.with_suffix(".log")
    with log_path.open("wb") as log:
        environment = os.environ | {"PYTHONPATH": str(NAMING)}
        stack = subprocess.Popen(
            words, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        yield _wait_ready(stack, state, log_path)
    finally:
        stack.send_signal(signal.SIGINT)
        try:
            stack.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(stack.pid, signal.SIGKILL)
            stack.wait()


def _wait_ready(stack: subprocess.Popen[bytes], state: Path, log: Path) -> Running:
    until = time.monotonic() + START_S
    while stack.poll() is None and time.monotonic() < until:
        with contextlib.suppress(AppiaError):
            return read_running(state)
        time.sleep(0.05)
    raise BenchError(f"the stack did not start; the end of its log: {log.read_text('utf-8')[-2000:]}")


@contextlib.contextmanager
def client_of(endpoints: Sequence[str]) -> Iterator[Client]:
    """A client of the replicas at some endpoints; it waits long and asks one replica at a time."""
    patience = Patience(overall_s=60.0, per_try_s=60.0, hedge_s=60.0)
    with zmq.Context() as context, Client(FixedReplicas(endpoints), context, patience) as client:
        yield client


def endpoints(running: Running) -> list[str]:
    """Where the replicas of a stack answer."""
    return [replica.endpoint for replica in running.replicas]


@dataclass(frozen=True)
class Fed:
    """What `appia feed` said, the processor seconds that it took, and when (monotonic) it had read the first record."""

    summary: dict[str, Any]
    cpu_s: float
    started: float
    ended: float

    @property
    def stored(self) -> int:
        """Events that are new on disk."""
        refused = sum(map(int, self.summary["refused"].values()))
        return int(self.summary["acknowledged"]) - int(self.summary["duplicates"]) - refused


class Feeding:
    """`appia feed` as a child process."""

    def __init__(self, state: Path, source: Path, *more: str, form: str = "cicflowmeter") -> None:
        """Start it on a file of the format `form`; `more` are further options."""
        words = [str(APPIA), "feed", "--state", str(state), "--format", form, str(source), "--json"]
        self._process = subprocess.Popen([*words, *more], stdout=subprocess.PIPE, text=True)

    @property
    def is_over(self) -> bool:
        """Whether it has ended, not yet reaped."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def result(self) -> Fed:
        """Block until it has ended.

        Raises:
            BenchError: it failed.
        """
        process = self._process
        assert process.stdout is not None
        said = process.stdout.read()
        ended = time.monotonic()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        if not said:
            raise BenchError(f"`appia feed` ended with exit status {process.returncode}: see above")
        summary = json.loads(said)
        return Fed(summary, usage.ru_utime + usage.ru_stime, ended - summary["seconds"], ended)

    def stop(self) -> Fed:
        """Ask it to end now, and block until it has."""
        self._process.send_signal(signal.SIGINT)
        return self.result()


def index_rows(client: Client) -> dict[str, int]:
    """How many rows each index shows over all days, and "events" how many events there are."""
    days = client.days()["days"]
    rows = {index: sum(day["indices"][index]["rows"] for day in days) for index in EVENT_INDICES}
    return {**rows, "events": sum(day["rows"] for day in days)}


def wait_visible(client: Client, events: int) -> float:
    """Block until all indices show `events` rows; gives the moment (monotonic).

    Raises:
        BenchError: nothing new was shown for five minutes.
    """
    best, changed = -1, time.monotonic()
    while True:
        shown = index_rows(client)
        now = time.monotonic()
        if min(shown.values()) >= events:
            return now
        if sum(shown.values()) > best:
            best, changed = sum(shown.values()), now
        if now - changed > QUIET_S:
            raise BenchError(f"of {events} events the replica shows {shown}, and no more for {QUIET_S:g} s")
        time.sleep(0.05)


def day_bytes(state: Path) -> dict[str, int]:
    """Bytes on disk over all days by what they hold: open, chunk, and each index."""
    total = dict.fromkeys(("open", "chunk", *INDICES), 0)
    names = StateNames(state)
    for day in map(names.day, names.days()):
        total["open"] += folder_bytes(day.open_folder)
        for number in day.generations():
            generation = day.generation(number)
            total["chunk"] += folder_bytes(generation.chunk)
            for index in INDICES:
                total[index] += folder_bytes(generation.index(index))
    return total


def open_days(client: Client) -> list[str]:
    """The days that have events not sealed yet."""
    return [day["day"] for day in client.days()["days"] if "open" in day["state"]]


@dataclass(frozen=True)
class Wanted:
    """A state directory for benchmarks: how many events of which file, how varied (see traffic.py)."""

    source: Path
    events: int
    vary: float
    work: Path = WORK
    weeks: int = 1
    keep_open: bool = False  # leave the last day as it is while events come

    @property
    def state(self) -> Path:
        """Where it is kept between benchmarks."""
        name = f"{self.source.name.partition('.')[0]}-{self.events}-{self.vary:g}"
        return self.work / (name if self.weeks == 1 else f"{name}-{self.weeks}w")

    def facts(self) -> dict[str, Any]:
        """What results say about it."""
        facts = {"input": self.source.name, "events": self.events, "vary": self.vary}
        return facts if self.weeks == 1 else {**facts, "weeks": self.weeks}

    def is_made(self) -> bool:
        """Whether it is there whole, made by what is checked out now."""
        mark = self.state / MARK
        return mark.is_file() and json.loads(mark.read_text("utf-8")) == self._mark()

    def mark_made(self) -> None:
        """Say that it is whole."""
        (self.state / MARK).write_text(json.dumps(self._mark()) + "\n", "utf-8")

    def _mark(self) -> dict[str, Any]:
        return {**self.facts(), "commit": commit()}

    def traffic(self) -> Path:
        """The file to feed, made where it is missing; blocks."""
        target = self.work / f"{self.state.name}.csv"
        if not target.exists():
            print(f"  making a file of {self.events:,} flows", flush=True)
            write_rounds(self.source, target, self.events, self.vary, self.weeks)
        return target

    def clear(self) -> None:
        """Remove it."""
        shutil.rmtree(self.state, ignore_errors=True)

    def make(self) -> None:
        """Feed and seal it unless it is there; blocks."""
        if self.is_made():
            return
        self.clear()
        print(f"  feeding and sealing {self.events:,} events (kept for later runs)", flush=True)
        with running_stack(self.state) as running, client_of(endpoints(running)) as client:
            fed = Feeding(self.state, self.traffic()).result()
            wait_visible(client, fed.stored)
            days = open_days(client)
            for day in days[:-1] if self.keep_open else days:
                appia("seal", day, "--state", str(self.state))
        self.mark_made()
