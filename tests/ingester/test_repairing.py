"""Repairing is a job like others, but for that it waits for the intake and gives way to what is asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.chunk import COLUMNS
from services.common.days.leases import hold_folder
from services.common.days.manifest import read_manifest
from services.common.days.names import read_pointer
from services.common.days.sealing import Sealer
from services.common.days.verify import verify_day
from services.common.errors import AppiaError, UsageError
from services.common.events.vocabulary import load_vocabulary
from services.ingester.dropping import DROP
from services.ingester.holding import BookKeeper
from services.ingester.jobs import WAITS_FOR_INTAKE, Job
from services.ingester.jobs_kinds import make_jobs
from services.ingester.jobs_versions import ADOPT
from services.ingester.pressure import BEHIND_ROWS, Pressure
from services.ingester.queue import ByteQueue
from services.ingester.repairing import REPAIR
from services.ingester.sealing_jobs import JobTools
from services.ingester.settings import IngesterSettings
from services.ingester.signing import Signing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.days.embedders import Embedders
    from services.common.days.names import DayNames, StateNames
    from services.common.durable import Disk
    from services.ingester.jobs import Jobs

DAY = "2026-01-22"


class Here:
    """Stands where the receiver does: there is one thread."""

    @staticmethod
    def call(work: Callable[[], Any]) -> Any:
        return work()


@dataclass
class Busy:
    """Whether the intake is behind."""

    is_behind: bool = False

    def __call__(self) -> bool:
        return self.is_behind


@pytest.fixture
def busy() -> Busy:
    return Busy()


@pytest.fixture
def opened(start: Callable[[], Any], make_events: Callable[..., list[bytes]]) -> Any:
    """An intake that took twenty events of a day and opened the next segment."""
    intake = start()
    intake.add(make_events(20))
    intake.intake.rotate(DAY)
    return intake


@pytest.fixture
def day(opened: Any, state: StateNames, disk: Disk, embedders: Embedders) -> DayNames:
    """The day sealed; its indices are of small models."""
    assert opened
    Sealer(disk, load_vocabulary(), embedders, lambda *_: None).seal(state.day(DAY), 1)
    return state.day(DAY)


@pytest.fixture
def jobs(opened: Any, state: StateNames, disk: Disk, clock: Any, reports: Any, busy: Busy) -> Jobs:  # noqa: PLR0917 - fixtures
    """The queue, of which the test itself does the jobs."""
    settings = IngesterSettings(state=state.root, keys=state.keys)
    here: Any = Here()
    tools = JobTools(
        intake=opened.intake,
        receiver=here,
        indexing=ByteQueue(1 << 20),
        disk=disk,
        signing=Signing(state, state.keys, disk, clock.ns),
        clock=clock.ns,
        monotonic=clock.monotonic,
        report=reports,
        is_behind=busy,
        keeper=BookKeeper(state, disk),
    )
    return make_jobs(state, lambda: settings, tools)


def flip(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def done(jobs: Jobs, job: str) -> dict[str, Any]:
    assert jobs.work_next()
    status = jobs.status(job)
    assert (status["state"], status["error"]) == ("done", "")
    return status


@pytest.mark.usefixtures("models")
def test_a_damaged_index_is_made_anew_by_a_job(day: DayNames, jobs: Jobs, reports: Any) -> None:
    """With the models of the state directory; the log says what was wrong. Asked for again, nothing is done."""
    generation = day.generation(1)
    folder = generation.index_version("attack", 1)
    flip(folder / max(read_manifest(folder).artifacts))
    job = jobs.request(REPAIR, {"day": DAY, "index": "attack"})
    assert jobs.request(REPAIR, {"day": DAY, "index": "attack"}) == job, "it is asked for already"
    status = done(jobs, job)
    assert (status["index"], status["report"]["was"], status["report"]["version"]) == ("attack", "corrupt", 2)
    assert read_pointer(generation.index_current("attack")) == 2
    assert verify_day(day).faults == ()
    (told,) = reports.named("repair_done")
    assert (told["day"], told["index"], told["repaired"]) == (DAY, "attack", True)
    again = done(jobs, jobs.request(REPAIR, {"day": DAY, "index": "attack"}))
    assert (again["report"]["repaired"], again["report"]["was"]) == (False, "ok")


@pytest.mark.usefixtures("models")
def test_the_intake_knows_the_events_of_a_repaired_chunk(
    day: DayNames, jobs: Jobs, opened: Any, make_events: Callable[..., list[bytes]]
) -> None:
    """What it drops duplicates by is of the new generation; a late event goes on behind it."""
    assert opened.add(make_events(20)) == (0, 20, {})
    flip(day.generation(1).chunk / COLUMNS)
    assert done(jobs, jobs.request(REPAIR, {"day": DAY, "index": "chunk"}))["report"]["generation"] == 2
    assert day.generations() == [2]
    assert opened.add(make_events(20)) == (0, 20, {})
    assert opened.add(make_events(1, "late"))[0] == 1
    assert verify_day(day).faults == ()


def test_it_waits_for_the_intake_and_gives_way(day: DayNames, jobs: Jobs, busy: Busy) -> None:
    """While the intake is behind nothing is begun, and the status says so; what does not yield goes first."""
    assert day.generations()
    busy.is_behind = True
    waiting = jobs.request(REPAIR, {"day": DAY, "index": "entity"})
    assert jobs.work_next() is False
    assert (jobs.status(waiting)["state"], jobs.status(waiting)["step"]) == ("queued", WAITS_FOR_INTAKE)
    urgent = jobs.request(ADOPT, {"day": DAY})
    assert jobs.work_next() is True
    assert (jobs.status(urgent)["state"], jobs.status(waiting)["state"]) == ("failed", "queued")
    busy.is_behind = False
    assert jobs.work_next() is True
    assert jobs.status(waiting)["state"] in {"done", "failed"}


def test_what_cannot_be_repaired_is_said(day: DayNames, jobs: Jobs) -> None:
    with pytest.raises(UsageError, match="no part 'fused' of a day; there are: chunk, attack"):
        jobs.request(REPAIR, {"day": DAY, "index": "fused"})
    with pytest.raises(UsageError, match="not a day"):
        jobs.request(REPAIR, {"day": "../../etc", "index": "attack"})
    with pytest.raises(AppiaError, match="Day 2026-01-21 is not sealed"):
        jobs.request(REPAIR, {"day": "2026-01-21", "index": "attack"})
    assert day.generations() == [1]


def test_a_day_that_is_going_is_not_served_again(day: DayNames, jobs: Jobs, clock: Any) -> None:
    """It has no pointer while a replica still reads its files; a repair would take that for damage and put it back."""
    clock.seconds += 86_400
    held = hold_folder(day.generation(1).folder)
    try:
        early = jobs.request(REPAIR, {"day": DAY, "index": "chunk"})
        assert done(jobs, jobs.request(DROP, {"day": DAY}))["report"]["waits"]
        with pytest.raises(AppiaError, match="Day 2026-01-22 is being dropped"):
            jobs.request(REPAIR, {"day": DAY, "index": "chunk"})
        assert jobs.work_next()
        assert "is being dropped" in jobs.status(early)["error"]
    finally:
        os.close(held)
    assert not day.current.exists()


@pytest.mark.usefixtures("models")
def test_lost_events_fail_the_job_with_the_backup(day: DayNames, jobs: Jobs, reports: Any) -> None:
    """The status and the log say so, and nothing is changed."""
    flip(day.generation(1).chunk / "events.log")
    job = jobs.request(REPAIR, {"day": DAY, "index": "chunk"})
    assert jobs.work_next()
    status = jobs.status(job)
    assert (status["state"], "from a backup" in status["error"]) == ("failed", True)
    assert "from a backup" in reports.named("repair_failed")[0]["error"]
    assert day.generations() == [1]


def test_finished_jobs_are_forgotten_and_those_that_wait_are_not(
    jobs: Jobs, busy: Busy, day: DayNames
) -> None:
    """However many come after it, a job that waits can be asked about."""
    assert day.generations()
    busy.is_behind = True
    waiting = jobs.request(REPAIR, {"day": DAY, "index": "entity"})
    names = []
    for _ in range(300):
        names.append(jobs.request(ADOPT, {"day": DAY}))
        jobs.work_next()
    assert jobs.status(waiting)["state"] == "queued"
    assert jobs.status(names[-1])["state"] == "failed"
    with pytest.raises(AppiaError, match="no job"):
        jobs.status(names[0])


class Parts:
    """Stands where the parts do that show pressure."""

    def __init__(self) -> None:
        self.gauge, self.bytes, self.budget, self.is_paused = self, 0, 1000, False
        self.rows = {"attack": 0, "semantic": 0}
        self.failing: dict[str, str] = {}

    def lag(self) -> dict[str, int]:
        return self.rows

    def faults(self) -> dict[str, str]:
        return self.failing


def test_pressure_is_a_full_queue_a_late_index_or_a_full_disk() -> None:
    """An index that fails is not waited for: what it lacks may be what the job brings."""
    parts: Any = Parts()
    pressure = Pressure(parts, parts, parts)
    assert not pressure.is_behind()
    parts.rows["attack"] = BEHIND_ROWS + 1
    assert pressure.is_behind()
    parts.failing = {"attack": "broken"}
    assert not pressure.is_behind()
    parts.bytes = 251
    assert pressure.is_behind()
    parts.bytes, parts.is_paused = 0, True
    assert pressure.is_behind()


def test_a_job_tells_its_index() -> None:
    assert Job("repair-1", DAY, REPAIR, {"index": "attack"}).as_plain()["index"] == "attack"
    assert Job("seal-1", DAY, "seal").as_plain()["index"] == ""
