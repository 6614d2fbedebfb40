"""Questions are answered while replicas, the ingester and the registry are killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import pytest
import zmq

from services.common.registry.connect import open_registry
from services.common.registry.known import KnownSet
from services.rag.client import KIND, Client, Patience

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Stack = Any

EVENTS = 300


class Asking:
    """A thread that asks without a pause, as one long-living client does; it counts answers and keeps failures."""

    def __init__(self, stack: Stack, registry: str, event: str) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._event = event
        self._known = KnownSet(open_registry(registry, stack.names.root), KIND)
        assert self._known.refresh()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with zmq.Context() as context, Client(self._known, context, Patience(overall_s=10.0)) as client:
            questions: dict[str, Callable[[], bool]] = {
                "similar": lambda: len(client.similar(self._event, 5)["groups"]) == 5,
                "search": lambda: len(client.search("many connections to one host", 5)["groups"]) == 5,
                "get": lambda: client.get(self._event)["fields"]["event_id"] == self._event,
                "stats": lambda: client.stats()["rows"] >= EVENTS,
            }
            while not self._stop.is_set():
                for name, question in questions.items():
                    self._ask(name, question)

    def _ask(self, name: str, question: Callable[[], bool]) -> None:
        try:
            if not question():
                self.failures.append(f"{name}: the answer lacks something")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed question
            self.failures.append(f"{name}: {type(error).__name__}: {error}")
        self.answers += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="module", params=["file", "etcd"])
def stack(
    request: pytest.FixtureRequest,
    start_stack: Callable[..., Stack],
    sample: Path,
    end_of: Callable[[subprocess.Popen[str]], dict[str, Any]],
) -> Stack:
    """Three replicas over some events, with either registry."""
    url = "file" if request.param == "file" else request.getfixturevalue("etcd").url
    stack = start_stack("--replicas", "3", "--registry", url)
    end_of(stack.feed("--format", "cicflowmeter", "--limit", str(EVENTS), str(sample)))
    stack.wait_for_rows(EVENTS)
    return stack


@pytest.fixture
def asking(stack: Stack) -> Iterator[Asking]:
    event = stack.appia("list")["events"][0]["event_id"]
    with Asking(stack, stack.now.registry, event) as found:
        yield found


def _more(asking: Asking, answers: int, eventually: Callable[..., None]) -> None:
    """Wait for so many more answers."""
    wanted = asking.answers + answers
    eventually("answers come", lambda: asking.answers >= wanted)
    assert asking.failures == []


def test_replicas_killed_one_after_the_other(
    stack: Stack, asking: Asking, eventually: Callable[..., None]
) -> None:
    """Each of three is killed under load and comes back: not one question fails."""
    _more(asking, 20, eventually)
    for number in range(3):
        pid = stack.now.replicas[number].pid
        os.kill(pid, signal.SIGKILL)
        _more(asking, 20, eventually)
        eventually("it is back", lambda number=number, pid=pid: stack.now.replicas[number].pid != pid)
    _more(asking, 20, eventually)


def test_the_ingester_is_away(stack: Stack, asking: Asking, eventually: Callable[..., None]) -> None:
    """Questions do not need the one who writes."""
    pid = stack.now.ingester.pid
    os.kill(pid, signal.SIGKILL)
    _more(asking, 20, eventually)
    eventually("it is back", lambda: stack.now.ingester.pid != pid)


def test_a_day_is_sealed_under_load(stack: Stack, asking: Asking, eventually: Callable[..., None]) -> None:
    """The open segment goes and the generation comes: no question fails or finds less."""
    (day,) = stack.names.days()
    assert stack.appia("seal", day)["rows"] == EVENTS
    eventually("it is served sealed", lambda: stack.appia("days")["days"][0]["state"] == "sealed")
    _more(asking, 20, eventually)
    assert stack.rows() == {day: EVENTS}


@pytest.mark.parametrize("stack", ["etcd"], indirect=True)
def test_the_registry_is_away(
    stack: Stack, asking: Asking, etcd: Any, eventually: Callable[..., None]
) -> None:
    """etcd killed: clients go on, a replica killed meanwhile costs no question, and etcd finds all again."""
    _more(asking, 20, eventually)
    etcd.kill()
    _more(asking, 40, eventually)
    pid = stack.now.replicas[0].pid
    os.kill(pid, signal.SIGKILL)
    _more(asking, 40, eventually)
    assert sum(stack.rows().values()) == EVENTS, "a new client knows the replicas of this machine"
    etcd.start()
    _more(asking, 40, eventually)
    registry = open_registry(etcd.url, stack.names.root)
    eventually("all are registered again", lambda: len(registry.entries(KIND)) == 3)
    until = time.monotonic() + 1
    while time.monotonic() < until:
        _more(asking, 5, eventually)
    registry.close()
