"""What the power may take, one promise at a time, and then many states of a disk."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from torture import power
from torture.calls import Killed, RecordingCalls, Tape
from torture.in_ci import hold
from torture.oracle import look_at_segment
from torture.replay import Volume
from torture.stage import Stage
from torture.workload import DAYS, Process, World, in_turn, make_event

from services.common.days.generations import retire
from services.common.days.log import LogWriter
from services.common.days.log_format import was_begun
from services.common.days.names import StateNames
from services.common.durable import Disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torture.calls import Operation
    from torture.replay import Tree

NOON = 1_769_040_000 + 43_200


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    return Tape(tmp_path)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(StateNames(tmp_path / "state"))


@pytest.fixture
def live(tape: Tape, world: World) -> Callable[[], Process]:
    """Start the ingester on the tape."""
    return lambda: Process(world, RecordingCalls(tape), tape)


def _promised(tape: Tape) -> Tree:
    volume = Volume()
    volume.follow(tape.operations)
    return volume.promised()


def _shape(operation: Operation) -> list[object]:
    """An operation with sizes instead of contents."""
    values = [getattr(operation, name) for name in operation.__slots__]
    return [type(operation), *(len(value) if isinstance(value, bytes | tuple) else value for value in values)]


class KilledAfterMkdir(RecordingCalls):
    """The process is killed before it can sync the name of the folder that it made."""

    def mkdir(self, path: Path | str, mode: int) -> None:
        super().mkdir(path, mode)
        raise Killed


class KilledBeforeSync(RecordingCalls):
    """The process is killed at the sync of data, from some moment on."""

    armed = False

    def sync_data(self, fd: int) -> None:
        if self.armed and not self.is_dead:
            raise Killed
        super().sync_data(fd)


def test_a_folder_that_a_killed_process_made_is_synced_by_the_next(tape: Tape, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        Disk(KilledAfterMkdir(tape)).make_folder(tmp_path / "a")
    assert (tmp_path / "a").is_dir()
    Disk(RecordingCalls(tape)).make_folder(tmp_path / "a" / "b")
    assert set(_promised(tape).folders) == {"a", "a/b"}


def test_a_folder_that_goes_never_comes_back_in_part(tape: Tape, tmp_path: Path) -> None:
    disk = Disk(RecordingCalls(tape))
    disk.make_folder(tmp_path / "a")
    disk.write_file(tmp_path / "a" / "one", b"1")
    disk.write_file(tmp_path / "a" / "two", b"2")
    first = len(tape.operations)
    disk.remove(tmp_path / "a")
    for cut in range(first, len(tape.operations)):
        volume = Volume()
        volume.follow(tape.operations[:cut])
        left = volume.promised()
        assert "a" not in left.folders or set(left.files) == {"a/one", "a/two"}, cut
    assert "a" not in left.folders


def test_an_event_that_a_killed_process_did_not_sync_is_there_when_it_is_acknowledged_as_a_duplicate(
    live: Callable[[], Process], tape: Tape
) -> None:
    """It was read from memory, not from the disk; the sender, who got no answer, sends it again."""
    first, second = make_event("a", NOON), make_event("b", NOON)
    process = live()
    process.take([first])
    process.intake.add([second], backfill=True, origin="")
    process.kill()
    process = live()
    assert process.take([second]).duplicates == 1
    process.kill()
    (log,) = [data for path, (data, _) in _promised(tape).files.items() if path.endswith("events-000001.log")]
    assert second in log


def test_a_remark_that_a_killed_process_did_not_sync_is_there_when_it_is_acknowledged_again(
    live: Callable[[], Process], tape: Tape, world: World
) -> None:
    calls = KilledBeforeSync(tape)
    process = Process(world, calls, tape)
    process.remark(1)
    calls.armed = True
    with pytest.raises(Killed):
        process.remark(2)
    process.kill()
    process = live()
    process.remark(2)
    process.kill()
    (log,) = [data for path, (data, _) in _promised(tape).files.items() if "/feedback-" in path]
    assert b"remark-2" in log


def test_what_a_generation_replaces_goes_after_the_pointer_is_on_disk(
    live: Callable[[], Process], tape: Tape, world: World
) -> None:
    """The sealer was killed between the renaming of CURRENT and its sync; the next start takes the segments away."""
    process = live()
    process.take([make_event("a", NOON)])
    with in_turn(random.Random(1)):
        process.seal(DAYS[1])
    process.kill()
    folder = world.state.day(DAYS[1]).sealed_folder
    calls = RecordingCalls(tape)
    calls.rename(folder / "CURRENT", folder / ".CURRENT.1.staged")
    Disk(calls).sync_folder(folder)
    calls.rename(folder / ".CURRENT.1.staged", folder / "CURRENT")
    retire(world.state.day(DAYS[1]), Disk(calls))
    assert any(path.endswith("sealed/CURRENT") for path in _promised(tape).files)


def test_an_index_that_another_model_makes_anew_never_shows_what_was_before(
    tape: Tape, world: World, tmp_path: Path
) -> None:
    """Wherever the power goes: counters of the old vectors would show zeros, or more vectors than there are."""
    luck = random.Random(5)
    with in_turn(luck):
        for models in (0, 1):
            process = Process(world, RecordingCalls(tape), tape, models)
            process.take([make_event(f"{models}-{i}", NOON + i) for i in range(6)])
            begin = len(tape.operations)
            process.index()
            process.kill()
    stage = Stage(tmp_path)
    names = world.state.day(DAYS[1]).segment(1)
    for cut in range(begin, len(tape.operations)):
        volume = Volume()
        volume.follow(tape.operations[:cut])
        for _ in range(4):
            stage.show(volume.cut(luck), ())
            assert look_at_segment(world, names) == [], cut


def test_the_beginning_of_a_log_is_on_disk_before_a_record_is_written(tape: Tape, tmp_path: Path) -> None:
    """So a file whose beginning cannot be read, and that goes on behind it, is damaged: it is not thrown away."""
    log = LogWriter(Disk(RecordingCalls(tape)), tmp_path / "a.log")
    (tmp_path / "left.log").write_bytes(_promised(tape).files["a.log"][0])
    assert was_begun(tmp_path / "left.log")
    log.append(1, 0, [b"x" * 100])
    log.close()
    raw = (tmp_path / "a.log").read_bytes()
    for name, content, begun in (
        ("whole", raw, True),
        ("empty", b"", False),
        ("torn", raw[:20], False),
        ("noise", b"?" * 32, False),
        ("zeros", bytes(4096), False),
        ("damaged", bytes(32) + raw[32:], True),
        ("foreign", b"?" * 33, True),
    ):
        (tmp_path / name).write_bytes(content)
        assert was_begun(tmp_path / name) is begun, name


def test_the_same_seed_tells_the_same_story(tmp_path: Path) -> None:
    """A fault that is found once is found again. Only what SQLite draws and the time in a manifest differ."""
    tapes = []
    for folder in ("a", "b"):
        top = tmp_path / folder
        top.mkdir()
        tape = power.record(top, World(StateNames(top / "state"), is_signed=True), 7, 3).tape
        tapes.append([_shape(operation) for operation in tape.operations])
    assert len(tapes[0]) > 100
    assert tapes[0] == tapes[1]


def test_what_is_acknowledged_survives_a_power_cut(tmp_path: Path) -> None:
    outcome = hold(power.SUITE, tmp_path)
    assert outcome.facts["cut twice"] > outcome.rounds // 10
    assert outcome.facts["sealed after"]
