"""What yields gives way to what does not, also when it has begun; it is done again, and nobody loses a job."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from services.ingester import jobs_process
from services.ingester.jobs import BrokenOff, Job, Jobs, Kind, Surroundings
from services.ingester.jobs_process import SealerProcess
from services.ingester.settings import IngesterSettings
from services.ingester.signing import Signing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.common.days.names import StateNames
    from services.common.durable import Disk

DAY, OTHER = "2026-01-22", "2026-01-23"


class Long:
    """Work that lasts until it has to give way or may end, and notes what was done."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.gives_way = threading.Event()
        self.done: list[str] = []

    def work(self, job: Job) -> None:
        self.begun.set()
        while not self.may_end.wait(0.005):
            if self.gives_way.is_set():
                self.gives_way.clear()
                self.begun.clear()
                raise BrokenOff("it gives way")
        self.done.append(job.kind)

    def quick(self, job: Job) -> None:
        self.done.append(job.kind)


@pytest.fixture
def long() -> Long:
    return Long()


@pytest.fixture
def jobs(long: Long, state: StateNames, disk: Disk, reports: Any) -> Iterator[Jobs]:
    """A queue whose thread runs, with a kind that yields and one that does not."""

    def kind(name: str, work: Callable[[Job], None], *, yields: bool) -> Kind:
        return Kind(name, lambda _day, _args: {}, work, lambda _job: None, yields=yields)

    kinds = kind("long", long.work, yields=True), kind("quick", long.quick, yields=False)
    signing = Signing(state, state.keys, disk, lambda: 0)
    around = Surroundings(lambda: (), lambda: False, long.gives_way.set, long.may_end.set, signing, reports)
    made = Jobs(kinds, around)
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.stop()
    thread.join()


def test_what_has_begun_gives_way(
    jobs: Jobs, long: Long, reports: Any, eventually: Callable[..., None]
) -> None:
    """What does not yield is done at once; the other one keeps its name, waits meanwhile, and is done then."""
    slow = jobs.request("long", {"day": DAY})
    assert long.begun.wait(30)
    urgent = jobs.request("quick", {"day": DAY})
    eventually("the urgent one ended", lambda: jobs.status(urgent)["state"] == "done")
    assert jobs.status(slow)["state"] in {"queued", "running"}
    assert reports.named("job_put_off") == [{"job": slow, "day": DAY}]
    long.may_end.set()
    eventually("the long one ended", lambda: jobs.status(slow)["state"] == "done")
    assert long.done == ["quick", "long"]


def test_what_yields_itself_breaks_nothing_off(jobs: Jobs, long: Long) -> None:
    """Work of the same kind waits for its turn."""
    jobs.request("long", {"day": DAY})
    assert long.begun.wait(30)
    jobs.request("long", {"day": OTHER})
    assert not long.gives_way.is_set()


SLEEPS = "import time; print('{}', flush=True); time.sleep(600)"
ENDS = """print('{"report": {"day": 1}}')"""


def test_the_process_that_works_is_ended(state: StateNames, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was at is broken off, and not failed; the next one runs."""
    settings = IngesterSettings(state=state.root, keys=state.keys)
    worker, job = SealerProcess(state.root, lambda: settings), Job("repair-1", DAY, "repair")
    code = [SLEEPS]
    monkeypatch.setattr(jobs_process, "_sealer_command", lambda *_: [sys.executable, "-c", code[0]])
    begun = threading.Event()
    monkeypatch.setattr(jobs_process, "_follow", lambda *_: begun.set() or "")
    threading.Thread(target=lambda: begun.wait(30) and worker.give_way()).start()
    with pytest.raises(BrokenOff):
        worker.run(job)
    monkeypatch.undo()
    monkeypatch.setattr(jobs_process, "_sealer_command", lambda *_: [sys.executable, "-c", ENDS])
    worker.run(job)
    assert job.report == {"day": 1}
