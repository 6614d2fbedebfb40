"""Events of the dead letter are taken in again: each once, what is refused again stays, and frames never."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from services.common.days.log import LogReader
from services.common.days.log_format import Record
from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.rest.storage_keys import NO_KEYS, StorageKeys, new_storage_keys
from services.common.system_calls import SystemCalls
from services.ingester.dead_letter import DeadLetter, DeadLetterNames
from services.ingester.intake import Intake, IntakeTools, Logged
from services.ingester.queue import ByteQueue
from services.ingester.recovery import Recovery
from services.ingester.refused import Place, Refused, read_place
from services.ingester.replay import AT_ONCE, LOOKED_AT, Replay, ReplayTools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.common.days.names import StateNames
    from services.common.rest.log_keys import LogKeys
    from services.ingester.receiver import Receiver

DAY = "2026-01-22"
OLD_SECONDS = 1_600_000_000  # 2020-09-13
LATER_SECONDS = 1_769_040_000 + 3 * 86_400


class AtOnce:
    """Does what the receiver's thread does between two groups."""

    def call(self, work: Callable[[], Any]) -> Any:
        return work()


class Run:
    """An intake with its dead letter and replay, as a start of the ingester makes them."""

    def __init__(self, state: StateNames, disk: Disk, clock: Any, keys: LogKeys, cap: int) -> None:
        self.letter = DeadLetter(disk, state.dead_letter, cap, clock.ns, keys)
        recovered = Recovery(disk, self.letter, print, keys).recover(state)
        self.intake = Intake(
            state, recovered, IntakeTools(disk, self.letter, clock.ns, clock.monotonic, keys)
        )
        self.indexing = ByteQueue(1 << 30)
        receiver = cast("Receiver", AtOnce())
        tools = ReplayTools(disk, self.letter, self.intake, receiver, self.indexing, keys)
        self.replay = Replay(state.dead_letter, tools)
        self.refused = Refused(state.dead_letter, keys)

    def add(self, *payloads: bytes) -> None:
        self.intake.add(payloads, backfill=False, origin="v2 sender 0x1")
        self.intake.commit()

    def reasons(self) -> list[str]:
        return [kept.reason for kept in self.refused.kept()]

    def take_all(self, **args: Any) -> dict[str, Any]:
        answer = self.replay.take(args)
        assert answer["next"] == ""
        return answer

    def close(self) -> None:
        self.replay.close()
        self.intake.close()


@pytest.fixture(params=["plain", "encrypted"])
def keys(request: pytest.FixtureRequest, tmp_path: Any, disk: Disk) -> LogKeys:
    if request.param == "plain":
        return NO_KEYS
    new_storage_keys(disk, tmp_path / "storage.keys")
    return StorageKeys(tmp_path / "storage.keys", print)


@pytest.fixture
def run(state: StateNames, clock: Any, keys: LogKeys) -> Iterator[Callable[..., Run]]:
    """Start; what runs before is left as a crash leaves it."""
    started: list[Run] = []

    def start(calls: SystemCalls | None = None, cap: int = 64 << 20) -> Run:
        started.append(Run(state, Disk(calls) if calls else Disk(), clock, keys, cap))
        return started[-1]

    yield start
    for one in started:
        one.close()


def _events(state: StateNames, keys: LogKeys, day: str) -> list[bytes]:
    """All events in the logs of a day."""
    found: list[bytes] = []
    for number in state.day(day).segments():
        names = state.day(day).segment(number)
        for log in names.logs():
            reader = LogReader(names.log(log), keys)
            found += [record.payload for record in reader.scan() if isinstance(record, Record)]
            reader.close()
    return found


def test_a_late_event_is_taken_in_after_all(
    run: Callable[..., Run], make_event: Callable[..., bytes], state: StateNames, keys: LogKeys
) -> None:
    """Its day gets it, on disk and on its way to the indices; it is no longer listed, and not taken twice."""
    one = run()
    late = make_event("late", OLD_SECONDS)
    one.add(late, make_event("in time"))
    assert one.reasons() == ["too_old"]
    assert one.take_all() == {"taken": 1, "duplicates": 0, "refused": {}, "next": ""}
    assert one.reasons() == []
    assert _events(state, keys, "2020-09-13") == [late]
    item = one.indexing.get(timeout_s=0)
    assert isinstance(item, Logged)
    assert list(item.payloads) == [late]
    assert one.take_all() == {"taken": 0, "duplicates": 0, "refused": {}, "next": ""}
    assert _events(state, keys, "2020-09-13") == [late]


def test_what_is_refused_again_stays_and_is_not_kept_twice(
    run: Callable[..., Run], make_event: Callable[..., bytes], state: StateNames, clock: Any
) -> None:
    """An event of tomorrow stays until tomorrow, in the one record that it has."""
    one = run()
    one.add(make_event("early", LATER_SECONDS), b"nonsense")
    size = state.dead_letter.joinpath("refused-000001.log").stat().st_size
    for _ in range(3):
        assert one.take_all()["refused"] == {"in_future": 1, "not_an_event": 1}
    assert one.reasons() == ["in_future", "not_an_event"]
    assert state.dead_letter.joinpath("refused-000001.log").stat().st_size == size
    clock.seconds += 3 * 86_400
    assert one.take_all() == {"taken": 1, "duplicates": 0, "refused": {"not_an_event": 1}, "next": ""}
    assert one.reasons() == ["not_an_event"]


def test_an_event_in_a_forged_frame_is_never_taken(
    run: Callable[..., Run], make_event: Callable[..., bytes], state: StateNames, keys: LogKeys
) -> None:
    """Whoever reaches the port can have bytes kept; they must not become an event by a replay, also not by name."""
    one = run()
    for reason in ("bad_tag", "too_short", "unknown_key", "replay", "damaged_log", "bad_json", "too_long"):
        one.letter.keep(reason, "", "v2", make_event(reason))
    one.letter.sync()
    assert one.take_all() == {"taken": 0, "duplicates": 0, "refused": {}, "next": ""}
    for kept in list(one.refused.kept()):
        with pytest.raises(UsageError, match="nothing says that a sensor sent it"):
            one.replay.take({"records": [str(kept.place)]})
    assert len(one.reasons()) == 7
    assert _events(state, keys, DAY) == []


def test_a_crash_between_the_event_and_its_mark_does_no_harm(
    run: Callable[..., Run], make_event: Callable[..., bytes], state: StateNames, keys: LogKeys
) -> None:
    """The event is on disk and not marked: taken again it is a duplicate, and marked then."""

    class NoMarks(SystemCalls):
        def open(self, path: Any, flags: int, mode: int = 0o640) -> int:
            if "taken-" in str(path):
                raise OSError(5, "Input/output error")
            return super().open(path, flags, mode)

    late = make_event("late", OLD_SECONDS)
    one = run(NoMarks())
    one.add(late)
    with pytest.raises(AppiaError, match=r"\(1\), and that could not be noted"):
        one.replay.take({})
    two = run()
    assert two.reasons() == ["too_old"]
    assert two.take_all() == {"taken": 0, "duplicates": 1, "refused": {}, "next": ""}
    assert two.reasons() == []
    assert _events(state, keys, "2020-09-13") == [late]


def test_a_crash_before_the_event_is_on_disk_leaves_it_in_the_dead_letter(
    run: Callable[..., Run], make_event: Callable[..., bytes], state: StateNames, keys: LogKeys
) -> None:
    class NoSync(SystemCalls):
        works = False

        def sync_data(self, fd: int) -> None:
            if not self.works:
                raise OSError(5, "Input/output error")
            super().sync_data(fd)

    late = make_event("late", OLD_SECONDS)
    one = run()
    one.add(late)
    calls = NoSync()
    two = run(calls)
    with pytest.raises(OSError, match="Input/output error"):
        two.replay.take({})
    calls.works = True
    assert Refused(state.dead_letter, keys).taken() == {}
    three = run()
    answer = three.take_all()
    assert answer["taken"] + answer["duplicates"] == 1
    assert _events(state, keys, "2020-09-13") == [late]


def test_reasons_and_names_choose(run: Callable[..., Run], make_event: Callable[..., bytes]) -> None:
    """Only what is named is taken; what was taken can no longer be named."""
    one = run()
    one.add(*(make_event(f"late-{i}", OLD_SECONDS + i) for i in range(4)), make_event("early", LATER_SECONDS))
    assert one.take_all(reasons=["in_future"])["refused"] == {"in_future": 1}
    second = [kept.place for kept in one.refused.kept()][1]
    assert one.take_all(records=[str(second)])["taken"] == 1
    assert second not in [kept.place for kept in one.refused.kept()]
    with pytest.raises(AppiaError, match="holds nothing at"):
        one.replay.take({"records": [str(second)]})
    assert one.take_all(reasons=["too_old"])["taken"] == 3
    assert one.reasons() == ["in_future"]


@pytest.mark.parametrize(
    "args",
    [
        {"records": "1:2"},
        {"records": [1]},
        {"records": ["x"]},
        {"records": ["1:-2"]},
        {"reasons": [None]},
        {"start": "../x"},
        {"records": ["1:2"] * (AT_ONCE + 1)},
    ],
)
def test_arguments_that_are_wrong(run: Callable[..., Run], args: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        run().replay.take(args)


def test_many_are_taken_over_several_requests(
    run: Callable[..., Run], make_events: Callable[..., list[bytes]], state: StateNames, keys: LogKeys
) -> None:
    """`next` leads through all of them, in order, each once."""
    one = run()
    late = make_events(2 * AT_ONCE + 7, "late", OLD_SECONDS)
    one.add(*late)
    start = ""
    answers: list[dict[str, Any]] = []
    while not answers or start:
        answers.append(one.replay.take({"start": start}))
        start = answers[-1]["next"]
    assert [answer["taken"] for answer in answers] == [AT_ONCE, AT_ONCE, 7]
    assert _events(state, keys, "2020-09-13") == late


def test_one_request_looks_at_a_bounded_number(
    run: Callable[..., Run], make_event: Callable[..., bytes]
) -> None:
    """Very many forged frames before an event do not keep a request from being answered."""
    one = run()
    for _ in range(LOOKED_AT + 1):
        one.letter.keep("bad_tag", "", "v2", b"x")
    one.add(make_event("late", OLD_SECONDS))
    first = one.replay.take({})
    assert (first["taken"], bool(first["next"])) == (0, True)
    assert one.take_all(start=first["next"])["taken"] == 1


def test_files_of_which_all_was_taken_make_room(
    run: Callable[..., Run], make_event: Callable[..., bytes], state: StateNames, keys: LogKeys
) -> None:
    """An older file goes when nothing is left of it, its marks go when no file is left that they speak of."""
    names = DeadLetterNames(state.dead_letter)
    one = run()
    one.add(make_event("late", OLD_SECONDS, event_id="e" * 30_000))
    two = run(cap=40_000)
    two.add(make_event("later", OLD_SECONDS, event_id="f" * 30_000))
    assert two.letter.not_kept == 1
    two.letter.keep("bad_tag", "", "v2", b"forged")
    assert two.take_all()["taken"] == 1
    assert (names.numbers("refused"), names.numbers("taken")) == ([2], [])
    two.add(make_event("later", OLD_SECONDS, event_id="f" * 30_000))
    assert two.letter.not_kept == 1
    assert two.take_all()["taken"] == 1
    assert (names.numbers("refused"), names.numbers("taken")) == ([2], [1])
    assert [kept.reason for kept in Refused(state.dead_letter, keys).kept()] == ["bad_tag"]


def test_marks_are_of_a_file_and_not_of_its_number(
    run: Callable[..., Run], make_event: Callable[..., bytes], state: StateNames
) -> None:
    """A file that gets the number and the length of one that is gone is not taken for it."""
    names = DeadLetterNames(state.dead_letter)
    one = run()
    one.add(make_event("late-a", OLD_SECONDS))
    assert one.take_all()["taken"] == 1
    names.refused(1).unlink()
    two = run()
    two.add(make_event("late-b", OLD_SECONDS))
    assert [kept.place for kept in two.refused.kept()]
    assert two.take_all()["taken"] == 1


def test_a_torn_tail_of_the_dead_letter_is_passed_over(
    run: Callable[..., Run], make_event: Callable[..., bytes], state: StateNames
) -> None:
    """Also a file of which a crash left nothing but a part of its header."""
    one = run()
    one.add(make_event("late", OLD_SECONDS))
    with state.dead_letter.joinpath("refused-000001.log").open("ab") as file:
        file.write(b"torn")
    state.dead_letter.joinpath("refused-000002.log").write_bytes(b"APPIA")
    state.dead_letter.joinpath("taken-000001.log").write_bytes(b"")
    two = run()
    assert two.reasons() == ["too_old"]
    assert two.take_all()["taken"] == 1
    assert two.reasons() == []


@pytest.mark.parametrize("text", ["", "1", "1:", ":1", "1:2:3", "a:b", "-1:2", "1:1e3", "٣:٤", "1:2\n"])
def test_names_that_name_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="names nothing"):
        read_place(text)
    assert read_place("3:1234") == Place(3, 1234)
