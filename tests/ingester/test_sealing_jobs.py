"""Days are sealed when asked for or when they are over and quiet, by a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.chosen_models import ChosenModels
from services.common.days.manifest import read_manifest
from services.common.days.names import EVENT_INDICES, read_pointer
from services.common.days.sealed_reader import SealedReader
from services.common.days.sealing import Sealer
from services.common.days.verify import verify_day
from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.events.vocabulary import load_vocabulary
from services.ingester import jobs as jobs_module
from services.ingester.holding import BookKeeper
from services.ingester.indexer import Finish
from services.ingester.jobs_kinds import make_jobs
from services.ingester.jobs_versions import ACTIVATE, REINDEX, ROLL_BACK
from services.ingester.queue import ByteQueue
from services.ingester.reindexing import describe_indices
from services.ingester.sealing_jobs import SEAL, JobTools
from services.ingester.settings import IngesterSettings
from services.ingester.signing import Signing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.common.days.embedders import Embedders
    from services.common.days.names import StateNames

DAY, YESTERDAY = "2026-01-22", "2026-01-21"
NOON = 1_769_040_000 + 43_200
A_DAY = 86_400


class Between:
    """Stands where the receiver does: runs work between two groups, here at once and under a lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def call(self, work: Callable[[], Any]) -> Any:
        with self._lock:
            return work()


class Sealing:
    """The sealing thread behind an intake, with an indexer that lets go of segments at once."""

    def __init__(self, state: StateNames, opened: Any, clock: Any, reports: Any) -> None:
        self.opened = opened
        self.queue = ByteQueue(1 << 20)
        self._between = Between()
        settings = IngesterSettings(state=state.root, keys=state.keys, seal_after_quiet_s=600.0)
        signing = Signing(state, state.keys, Disk(), clock.ns)
        tools = JobTools(
            intake=opened.intake,
            receiver=self._between,  # type: ignore[arg-type]
            indexing=self.queue,
            disk=Disk(),
            signing=signing,
            clock=clock.ns,
            monotonic=clock.monotonic,
            report=reports,
            is_behind=lambda: False,
            keeper=BookKeeper(state, Disk()),
        )
        self.jobs = make_jobs(state, lambda: settings, tools)
        self._threads = [threading.Thread(target=self.jobs.run), threading.Thread(target=self._let_go)]
        for thread in self._threads:
            thread.start()

    def add(self, payloads: list[bytes]) -> Any:
        """Take events in between two looks, as the receiver's thread does."""
        return self._between.call(lambda: self.opened.add(payloads))

    def _let_go(self) -> None:
        while not self.queue.closed:
            item = self.queue.get(0.05)
            if isinstance(item, Finish):
                item.done.set()

    def stop(self) -> None:
        self.jobs.stop()
        self._threads[0].join()
        self.queue.close()
        self._threads[1].join()


@pytest.fixture
def sealing(
    state: StateNames,
    start: Callable[[], Any],
    clock: Any,
    reports: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[], Sealing]]:
    """Start the sealing thread; it looks often."""
    monkeypatch.setattr(jobs_module, "_LOOK_EVERY_S", 0.02)
    running: list[Sealing] = []

    def make() -> Sealing:
        running.append(Sealing(state, start(), clock, reports))
        return running[-1]

    yield make
    for one in running:
        one.stop()


@pytest.fixture
def finished(eventually: Callable[..., None]) -> Callable[[Sealing, str], dict[str, Any]]:
    """Wait for a job's end and give its status."""

    def wait(sealing: Sealing, job: str) -> dict[str, Any]:
        eventually("the job ended", lambda: sealing.jobs.status(job)["state"] in ("done", "failed"))
        return sealing.jobs.status(job)

    return wait


def _ids(state: StateNames, day: str, generation: int) -> list[str]:
    reader = SealedReader(day, state.day(day).generation(generation))
    view = reader.view()
    ids = [fields["event_id"] for fields in view.events.fetch(range(view.rows))]
    reader.close()
    assert view.missing == {}
    return ids


@pytest.mark.usefixtures("models")
def test_a_day_is_sealed_on_request_and_what_comes_meanwhile_in_a_second_generation(
    sealing: Callable[[], Sealing],
    state: StateNames,
    make_events: Callable[..., list[bytes]],
    finished: Callable[[Sealing, str], dict[str, Any]],
    reports: Any,
) -> None:
    """The job tells its state, steps and report; late events open a segment, and sealing again takes them in."""
    running = sealing()
    running.add(make_events(20))
    job = running.jobs.request(SEAL, {"day": DAY})
    running_states = set()
    late = make_events(5, "late")
    while (status := running.jobs.status(job))["state"] not in ("done", "failed"):
        running_states.add(status["state"])
        if status["state"] == "running" and late:
            assert running.add(late)[0] == 5
            late = []
    assert running_states in ({"queued", "running"}, {"running"})
    assert status["error"] == ""
    assert (status["report"]["rows"], status["report"]["generation"], status["report"]["failed"]) == (
        20,
        1,
        {},
    )
    assert (status["done"], status["total"]) == (20, 20)
    assert _ids(state, DAY, 1) == [f"event-e-{i}" for i in range(20)]
    assert state.day(DAY).segments() == [2]
    assert reports.named("day_sealed")[0]["rows"] == 20
    again = finished(running, running.jobs.request(SEAL, {"day": DAY}))
    assert (again["report"]["rows"], again["report"]["generation"]) == (25, 2)
    assert sorted(_ids(state, DAY, 2)) == sorted(
        [f"event-e-{i}" for i in range(20)] + [f"event-late-{i}" for i in range(5)]
    )
    assert (state.day(DAY).segments(), verify_day(state.day(DAY)).faults) == ([], ())
    assert running.add(make_events(20)) == (0, 20, {})
    with pytest.raises(AppiaError, match=f"Day {DAY} is sealed already and has no new events"):
        running.jobs.request(SEAL, {"day": DAY})


def test_what_cannot_be_sealed_is_said(sealing: Callable[[], Sealing]) -> None:
    running = sealing()
    with pytest.raises(AppiaError, match=f"Day {DAY} has no events"):
        running.jobs.request(SEAL, {"day": DAY})
    with pytest.raises(UsageError, match="YYYY-MM-DD"):
        running.jobs.request(SEAL, {"day": "22.1.2026"})
    with pytest.raises(AppiaError, match="no job 'seal-9'"):
        running.jobs.status("seal-9")


@pytest.mark.usefixtures("models")
def test_a_past_day_is_sealed_by_itself_once_it_is_quiet(  # noqa: PLR0917 - fixtures
    sealing: Callable[[], Sealing],
    state: StateNames,
    make_event: Callable[..., bytes],
    clock: Any,
    reports: Any,
    eventually: Callable[..., None],
) -> None:
    """Yesterday waits until it has been quiet for the time of the setting; today is not sealed at all."""
    running = sealing()
    running.add([make_event("y", NOON - A_DAY), make_event("t")])
    clock.seconds += 599
    assert not running.jobs.work_next()
    assert (list(running.jobs._jobs), reports.told) == ([], [])
    clock.seconds += 1
    eventually("yesterday is sealed", lambda: reports.named("day_sealed"))
    assert [facts["day"] for facts in reports.named("day_sealed")] == [YESTERDAY]
    assert (state.day(YESTERDAY).segments(), state.day(DAY).segments()) == ([], [1])


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("ahead_s", [-601, 400 * A_DAY])
def test_a_day_left_over_is_sealed_after_the_next_start(  # noqa: PLR0917 - fixtures
    sealing: Callable[[], Sealing],
    start: Callable[[], Any],
    state: StateNames,
    make_event: Callable[..., bytes],
    clock: Any,
    reports: Any,
    eventually: Callable[..., None],
    ahead_s: int,
) -> None:
    """Nothing came for it since the start: its log's last write and the end of the day decide.

    A write that is later than the clock says that the clock was set back: such a day is quiet since the start.
    """
    start().add([make_event("old", NOON - 3 * A_DAY)])
    log = state.day("2026-01-19").segment(1).log(1)
    clock.seconds = max(clock.seconds, log.stat().st_mtime + 601)
    os.utime(log, (clock.seconds + ahead_s, clock.seconds + ahead_s))
    sealing()
    clock.seconds += max(0, min(ahead_s, 601))
    eventually("it is sealed", lambda: reports.named("day_sealed"))
    assert reports.named("day_sealed")[0]["day"] == "2026-01-19"


@pytest.mark.usefixtures("models")
def test_a_sealing_that_is_broken_off_leaves_nothing_published(
    sealing: Callable[[], Sealing],
    start: Callable[[], Any],
    state: StateNames,
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
) -> None:
    """Stopped in the middle, the day stays open with all its events, and a start clears what was staged."""
    running = sealing()
    running.add(make_events(20_000, seconds=NOON - 20_000))
    job = running.jobs.request(SEAL, {"day": DAY})
    day = state.day(DAY)
    eventually("it works", lambda: day.staging.exists() and running.jobs.status(job)["step"])
    running.stop()
    assert (read_pointer(day.current), day.generations(), day.segments()) == (None, [], [1])
    assert running.jobs.status(job)["state"] == "failed"
    again = start()
    assert (day.staging.exists(), again.recovered[0].rows) == (False, 20_000)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("damage", ["CURRENT", "manifest"])
def test_a_damaged_day_does_not_end_the_sealing_of_others(  # noqa: PLR0917 - fixtures
    sealing: Callable[[], Sealing],
    start: Callable[[], Any],
    state: StateNames,
    disk: Disk,
    embedders: Embedders,
    make_event: Callable[..., bytes],
    clock: Any,
    reports: Any,
    eventually: Callable[..., None],
    damage: str,
) -> None:
    """Its fault is named, tried again with growing pauses, and the next day is sealed."""
    opened = start()
    opened.add([make_event("a", NOON - 2 * A_DAY)])
    opened.intake.rotate("2026-01-20")
    day = state.day("2026-01-20")
    Sealer(disk, load_vocabulary(), embedders, lambda _s, _d, _t: None).seal(day, 1)
    path = day.current if damage == "CURRENT" else day.generation(1).chunk / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(b"x")
    day.segment(2).folder.mkdir(parents=True)
    opened.add([make_event("y", NOON - A_DAY)])
    clock.seconds = max(clock.seconds + 700, state.day(YESTERDAY).segment(1).log(1).stat().st_mtime + 700)
    running = sealing()  # the clock stands from here on
    eventually("the other is sealed", lambda: reports.named("day_sealed"))
    eventually("the fault is named", lambda: reports.named("sealing_failed"))
    assert reports.named("sealing_failed")[0]["day"] == "2026-01-20"
    assert {facts["day"] for facts in reports.named("day_sealed")} == {YESTERDAY}
    assert len(reports.named("sealing_failed")) == 1, "not tried again before the pause is over"
    with pytest.raises(AppiaError, match="no job"):
        running.jobs.status("seal-99")


def test_an_index_whose_publishing_was_cut_short_is_built_again(
    start: Callable[[], Any],
    state: StateNames,
    disk: Disk,
    embedders: Embedders,
    make_event: Callable[..., bytes],
) -> None:
    """Killed between the rename of an index and its CURRENT: the next try makes a new version."""
    opened = start()
    opened.add([make_event()])
    opened.intake.rotate(DAY)
    sealer = Sealer(disk, load_vocabulary(), embedders, lambda _s, _d, _t: None)
    sealer.seal(state.day(DAY), 1)
    generation = state.day(DAY).generation(1)
    generation.index_current("attack").unlink()
    report = sealer.build_missing(state.day(DAY))
    assert report is not None
    assert report.failed == {}
    assert {read_pointer(generation.index_current(name)) for name in EVENT_INDICES} == {1, 2}
    assert verify_day(state.day(DAY)).faults == ()


@pytest.fixture
def sealed_by_small_models(
    start: Callable[[], Any],
    state: StateNames,
    disk: Disk,
    embedders: Embedders,
    make_events: Callable[..., list[bytes]],
) -> None:
    """A day that was sealed with other models than those of the store."""
    opened = start()
    opened.add(make_events(300))
    opened.intake.rotate(DAY)
    Sealer(disk, load_vocabulary(), embedders, lambda _s, _d, _t: None).seal(state.day(DAY), 1)


@pytest.mark.usefixtures("models", "sealed_by_small_models")
def test_an_index_is_made_anew_and_switched_by_jobs(
    sealing: Callable[[], Sealing],
    state: StateNames,
    finished: Callable[[Sealing, str], dict[str, Any]],
    reports: Any,
) -> None:
    """What is described changes with each job: another model is wanted, waits, is served, and was before."""

    def described() -> dict[str, Any]:
        answer = describe_indices(state, ChosenModels(), {"days": [DAY], "index": "attack", "reports": True})
        assert answer["faults"] == []
        (one,) = answer["indices"]
        return dict(one)

    old = "attack@000000000000"
    first = described()
    new = first["wanted"]
    assert (first["served"], first["waiting"], first["before"], first["overlap"]) == (old, None, None, None)
    assert new != old
    running = sealing()
    job = running.jobs.request(REINDEX, {"day": DAY, "index": "attack"})
    assert running.jobs.request(REINDEX, {"day": DAY, "index": "attack"}) == job, "it is asked for already"
    done = finished(running, job)
    assert (done["error"], done["report"]["units"], done["report"]["model"]) == ("", 300, new)
    assert (described()["served"], described()["waiting"]) == (old, new)
    assert described()["overlap"]["asked"] == 200
    assert finished(running, running.jobs.request(ACTIVATE, {"day": DAY, "index": "attack"}))["error"] == ""
    assert (described()["served"], described()["before"], described()["waiting"]) == (new, old, None)
    assert finished(running, running.jobs.request(ROLL_BACK, {"day": DAY, "index": "attack"}))["error"] == ""
    assert (described()["served"], described()["before"], described()["waiting"]) == (old, None, new)
    again = finished(running, running.jobs.request(ROLL_BACK, {"day": DAY, "index": "attack"}))
    assert (again["state"], "no earlier version" in again["error"]) == ("failed", True)
    told = [event for event, _ in reports.told]
    assert told == ["reindex_done", "activate_done", "rollback_done", "rollback_failed"]


@pytest.mark.usefixtures("models", "sealed_by_small_models")
def test_a_damaged_index_does_not_hide_the_others(state: StateNames) -> None:
    """It is named among the faults; unknown days and indices are refused."""
    manifest = state.day(DAY).generation(1).index_version("attack", 1) / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_bytes(b"{")
    answer = describe_indices(state, ChosenModels(), {})
    assert {one["index"] for one in answer["indices"]} == {"semantic", "temporal", "entity"}
    (fault,) = answer["faults"]
    assert "manifest.json is no valid manifest" in fault
    for wrong in ({"days": DAY}, {"index": "x"}, {"days": ["yesterday"]}):
        with pytest.raises(UsageError):
            describe_indices(state, ChosenModels(), wrong)
    with pytest.raises(AppiaError, match="Day 2026-01-01 is not sealed"):
        describe_indices(state, ChosenModels(), {"days": ["2026-01-01"]})


def test_work_on_indices_that_are_not_there_is_refused(sealing: Callable[[], Sealing]) -> None:
    running = sealing()
    with pytest.raises(AppiaError, match=f"Day {DAY} is not sealed"):
        running.jobs.request(REINDEX, {"day": DAY, "index": "attack"})
    with pytest.raises(UsageError, match="no index 'fused'; there are: attack, semantic, temporal, entity"):
        running.jobs.request(REINDEX, {"day": DAY, "index": "fused"})


def test_the_sealer_process_says_what_it_cannot_do(state: StateNames) -> None:
    """Without models it ends with status 1 and one line of JSON, and no traceback."""
    command = [sys.executable, "-m", "services.ingester.sealer", "--state", str(state.root), "--day", DAY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "models" in json.loads(done.stdout)["error"]


@pytest.mark.usefixtures("models")
def test_policies_of_the_settings_reach_the_sealed_indices(
    sealing: Callable[[], Sealing],
    state: StateNames,
    make_events: Callable[..., list[bytes]],
    finished: Callable[[Sealing, str], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each manifest names the form and the share that its index was to have, as the settings say."""
    monkeypatch.setenv("APPIA_INGESTER_VECTORS_TEMPORAL", "maximum")
    monkeypatch.setenv("APPIA_INGESTER_BENIGN_SAMPLE_RATE_ATTACK", "0.25")
    running = sealing()
    running.add(make_events(20))
    assert finished(running, running.jobs.request(SEAL, {"day": DAY}))["error"] == ""
    generation = state.day(DAY).generation(1)
    facts = {index: read_manifest(generation.index_version(index, 1)).facts for index in EVENT_INDICES}
    assert {index: found["wanted"] for index, found in facts.items()} == {
        "attack": "fast",
        "semantic": "fast",
        "temporal": "maximum",
    }
    assert [facts[index]["benign_sample_rate"] for index in EVENT_INDICES] == [0.25, 1.0, 1.0]
