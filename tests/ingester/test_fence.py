"""One writer: the lock, the epoch in the state directory, and what becomes of a writer that was replaced."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.names import StateNames
from services.common.days.one_writer import lock_state
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.registry.port import RegistryUnavailable
from services.ingester.fence import EpochFile, Fenced, Fencing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = 1_800_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "writer.json"


def epoch_file(path: Path, now: float = NOW) -> EpochFile:
    return EpochFile(path, Disk(), lambda: now)


def test_a_second_writer_of_the_machine_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    names = StateNames(tmp_path)
    first = lock_state(names, Disk(), "ingester")
    with pytest.raises(AppiaError, match="Another ingester writes"):
        lock_state(names, Disk(), "ingester")
    os.close(first)
    os.close(lock_state(names, Disk(), "ingester"))


def test_each_start_takes_a_higher_epoch_also_under_a_clock_that_stands_or_runs_backwards(path: Path) -> None:
    numbers = []
    for now in (NOW, NOW, NOW - 3600, NOW + 60):
        epoch = epoch_file(path, now)
        epoch.take()
        epoch.keep()
        numbers.append(epoch.number)
    assert numbers == [NOW, NOW + 1, NOW + 2, NOW + 60]


def test_who_finds_a_higher_epoch_is_told_by_whom_it_was_replaced(path: Path) -> None:
    older, newer = epoch_file(path), epoch_file(path)
    older.take()
    newer.take()
    with pytest.raises(
        Fenced, match=rf"process {os.getpid()} on .* epoch {NOW + 1}; this one, of epoch {NOW},"
    ):
        older.keep()
    newer.keep()


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"[]", b"7", b'{"format": 2}', b"\xff" * 9000, b'{"format": 1, "epoch": "x"}'],
    ids=str,
)
def test_a_file_that_is_gone_or_damaged_is_put_right_and_stops_nobody(
    path: Path, content: bytes | None
) -> None:
    epoch = epoch_file(path)
    epoch.take()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    epoch.keep()
    assert json.loads(path.read_text())["epoch"] == NOW
    epoch.keep()


def test_an_older_file_that_was_put_back_is_replaced_again(path: Path) -> None:
    epoch_file(path, NOW - 60).take()
    older = path.read_bytes()
    epoch = epoch_file(path)
    epoch.take()
    path.write_bytes(older)
    epoch.keep()
    assert json.loads(path.read_text())["epoch"] == NOW


def test_a_file_that_cannot_be_read_stops_a_start_and_not_a_running_writer(path: Path) -> None:
    epoch = epoch_file(path)
    epoch.take()
    path.unlink()
    path.mkdir()
    with pytest.raises(RegistryUnavailable, match=r"writer\.json cannot be used"):
        epoch.keep()
    with pytest.raises(AppiaError, match="could not be read or written"):
        epoch_file(path).take()


class Scripted:
    """An epoch that does what a test says, one step a call."""

    def __init__(self, *steps: Exception | None) -> None:
        self._steps = list(steps)
        self.number = 7
        self.given_back = False

    def take(self) -> None:
        self.keep()

    def keep(self) -> None:
        step = self._steps.pop(0) if self._steps else None
        if step is not None:
            raise step

    def give_back(self) -> None:
        self.given_back = True


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        self.events.append((event, facts))


def away(what: str = "etcd is away") -> RegistryUnavailable:
    return RegistryUnavailable(what)


def test_a_place_that_is_away_stops_nobody_and_is_told_once_going_and_once_coming() -> None:
    epoch, told = Scripted(away(), away(), away(), None, Fenced("replaced")), Told()
    fencing = Fencing([epoch], told, look_s=0.001)
    fencing.take()
    assert fencing.status() == {"epochs": [7], "faults": ["etcd is away"]}
    lost: list[bool] = []
    with pytest.raises(Fenced, match="replaced"):
        fencing.run(lambda: lost.append(True))
    assert lost == [True]
    assert [event.split(";")[0] for event, _ in told.events] == [
        "the epoch of the writer cannot be checked",
        "the epoch of the writer is checked again",
    ]
    assert fencing.status()["faults"] == []


def test_another_writer_that_lives_stops_a_start() -> None:
    with pytest.raises(AppiaError, match="lives"):
        Fencing([Scripted(AppiaError("it lives"))], Told()).take()


def test_the_intake_is_stopped_before_the_thread_that_looks_ends() -> None:
    order: list[str] = []
    fencing = Fencing([Scripted(Fenced("replaced"))], Told(), look_s=0.001)

    def body(run: Callable[[Callable[[], None]], None]) -> None:
        with pytest.raises(Fenced):
            run(lambda: order.append("intake"))
        order.append("ended")

    thread = threading.Thread(target=body, args=(fencing.run,))
    thread.start()
    thread.join(10)
    assert order == ["intake", "ended"]


def test_looking_ends_at_once_when_it_is_stopped_and_the_places_are_given_back() -> None:
    epoch = Scripted()
    fencing = Fencing([epoch], Told(), look_s=3600)
    thread = threading.Thread(target=fencing.run, args=(lambda: None,))
    thread.start()
    began = time.monotonic()
    fencing.stop()
    thread.join(60)
    assert time.monotonic() - began < 60
    fencing.give_back()
    assert epoch.given_back
