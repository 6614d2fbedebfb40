"""An analyst who never stops asking: a program that puts questions to sites and writes down what became of each.

`python -m fleet.analyst SITES.json RECORD.jsonl` runs until it is told to end (SIGTERM). It is the real client with
real keys: it finds replicas in etcd, asks any of them, and knows nothing else of the fleet. Each line of the record is
one question: `site`, `question`, `at` (seconds since 1970, when it was asked), `took_s`, `who` was asked (a client that
lives, a new one, or the command line), `fault` (empty where it was answered), `missing` (what the answer says that it
does not cover) and `behind_s` (how old the newest event of the site was; null where the question does not tell).
"""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from services.common.errors import AppiaError
from services.rag.client import Client
from services.rag.connect import Where, connect

EVERY_S = 0.25
NEW_CLIENT_EVERY, COMMAND_EVERY = 20, 60
COMMAND_WITHIN_S = 30.0
WORDS = ("port scan of many hosts", "quién subió muchos datos hacia afuera", "brute force against ssh")


@dataclass(frozen=True)
class Desk:
    """What an analyst was given for one site: see docs/site.md."""

    registry: str
    registry_keys: str
    key: str

    @property
    def where(self) -> Where:
        """The same for the client."""
        return Where(registry=self.registry, registry_keys=Path(self.registry_keys), key=Path(self.key))

    @property
    def options(self) -> list[str]:
        """The same for the command line."""
        return ["--registry", self.registry, "--registry-keys", self.registry_keys, "--key", self.key]


@dataclass(frozen=True)
class Asked:
    """One line of the record; see the first lines of this file."""

    site: str
    question: str
    at: float
    took_s: float
    who: str
    fault: str = ""
    missing: int = 0
    behind_s: float | None = None


Question = Callable[[Client], dict[str, Any]]


def newest(client: Client) -> dict[str, Any]:
    """The newest event."""
    return client.list(limit=1)


def questions() -> Iterator[tuple[str, Question]]:
    """What is asked, in turn, without end: each kind of question that an analyst has every day."""
    for words in itertools.cycle(WORDS):
        yield "list", newest
        yield "search", partial(_search, words)
        yield "list", newest
        yield "similar", _similar
        yield "stats", Client.stats


def _search(words: str, client: Client) -> dict[str, Any]:
    """What fits a sentence."""
    return client.search(words, k=5)


def _similar(client: Client) -> dict[str, Any]:
    """What is like the newest event, as of the answer that showed it: another replica may not have it this moment."""
    listed = newest(client)
    if not listed["events"]:
        return listed
    return client.similar(listed["events"][0]["event_id"], k=3, as_of=listed["receipt"]["as_of"])


def answered(site: str, question: str, who: str, ask: Callable[[], dict[str, Any]]) -> Asked:
    """Ask, and say what became of it."""
    at, began = time.time(), time.monotonic()
    try:
        answer = ask()
    except AppiaError as error:
        return Asked(site, question, at, time.monotonic() - began, who, f"{type(error).__name__}: {error}")
    took = time.monotonic() - began
    missing = len(answer.get("receipt", {}).get("missing", []))
    return Asked(site, question, at, took, who, missing=missing, behind_s=_behind(question, answer, at))


def _behind(question: str, answer: dict[str, Any], at: float) -> float | None:
    if question != "list" or not answer["events"]:
        return None
    return max(at - datetime.fromisoformat(answer["events"][0]["time"]).timestamp(), 0.0)


def by_command(desk: Desk) -> dict[str, Any]:
    """The same question by `appia list`, as somebody types it."""
    words = [sys.executable, "-m", "services.cli.main", "list", "--limit", "1", "--json", *desk.options]
    run = subprocess.run(words, capture_output=True, text=True, check=False, timeout=COMMAND_WITHIN_S)
    if run.returncode != 0:
        raise AppiaError(f"appia list ended with {run.returncode}: {run.stderr.strip()}")
    return dict(json.loads(run.stdout))


class Analyst:
    """Asks all sites in turn and writes a line for each question."""

    def __init__(self, desks: dict[str, Desk], record: TextIO) -> None:
        """Ask nobody yet."""
        self._desks, self._record = desks, record
        self._over = threading.Event()

    def stop(self, *_: object) -> None:
        """End after the question that is being asked."""
        self._over.set()

    def work(self) -> None:
        """Ask until `stop`."""
        with ExitStack() as stack:
            clients = {site: stack.enter_context(connect(desk.where)) for site, desk in self._desks.items()}
            kinds = {site: questions() for site in self._desks}
            for number in itertools.count(1):
                for site, client in clients.items():
                    self._note(self._ask(number, site, client, *next(kinds[site])))
                    if self._over.wait(EVERY_S / len(clients)):
                        return

    def _ask(self, number: int, site: str, client: Client, kind: str, question: Question) -> Asked:
        desk = self._desks[site]
        if number % COMMAND_EVERY == 0:
            return answered(site, "list", "command line", lambda: by_command(desk))
        if number % NEW_CLIENT_EVERY == 0:
            return answered(site, "list", "new client", lambda: _by_new_client(desk))
        return answered(site, kind, "client", lambda: question(client))

    def _note(self, asked: Asked) -> None:
        self._record.write(json.dumps(asdict(asked)) + "\n")
        self._record.flush()


def _by_new_client(desk: Desk) -> dict[str, Any]:
    with connect(desk.where) as client:
        return newest(client)


def main(arguments: list[str]) -> int:
    """Run the program."""
    desks, record = (Path(argument) for argument in arguments)
    with record.open("a") as file:
        analyst = Analyst({site: Desk(**desk) for site, desk in json.loads(desks.read_text()).items()}, file)
        signal.signal(signal.SIGTERM, analyst.stop)
        analyst.work()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
