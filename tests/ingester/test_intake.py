"""Events enter the day of their time once, and are on disk before anybody is told so."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.names import StateNames
from services.common.days.sealing import Sealer
from services.common.durable import Disk
from services.common.events.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.days.embedders import Embedders

DAY = "2026-01-22"
NOON = 1_769_040_000 + 43_200
A_DAY = 86_400


@pytest.fixture
def seal(state: StateNames, disk: Disk, embedders: Embedders) -> Callable[[str, int], None]:
    """Seal a day up to a segment, in this process."""

    def run(day: str, through: int) -> None:
        sealer = Sealer(disk, load_vocabulary(), embedders, lambda _step, _done, _total: None)
        assert sealer.seal(state.day(day), through).failed == {}

    return run


def test_events_go_to_the_utc_day_of_their_time(
    start: Callable[[], Any],
    state: StateNames,
    make_event: Callable[..., bytes],
    logged: Callable[..., list[bytes]],
) -> None:
    """The last second of a day and the first of the next are in two days, whatever order they come in."""
    midnight = 1_769_040_000
    before, after, later = (
        make_event("b", midnight - 1),
        make_event("a", midnight),
        make_event("l", midnight + 5),
    )
    assert start().add([after, before, later]) == (3, 0, {})
    assert state.days() == ["2026-01-21", DAY]
    assert logged(state.day("2026-01-21").segment(1)) == [before]
    assert logged(state.day(DAY).segment(1)) == [after, later]


def test_what_the_indices_get_is_what_lies_in_the_log(
    start: Callable[[], Any], make_events: Callable[..., list[bytes]], state: StateNames
) -> None:
    """Rows count on without a gap over groups and days, and each position holds its event."""
    opened = start()
    events = make_events(7)
    rows = []
    for part in (events[:3], events[3:]):
        opened.intake.add(part, backfill=False, origin="")
        (logged,) = opened.intake.commit()
        rows.append((logged.first_row, list(logged.payloads), len(logged.events), len(logged.positions)))
        assert logged.size == sum(map(len, part))
    assert rows == [(0, events[:3], 3, 3), (3, events[3:], 4, 4)]
    assert state.day(DAY).segment(1).logs() == [1]


def test_nothing_is_given_to_the_indices_before_it_is_on_disk(
    start: Callable[[], Any], make_events: Callable[..., list[bytes]]
) -> None:
    """`commit` syncs the log and the dead letter before it gives anything, and gives it once."""
    order: list[str] = []

    class Watched(Disk):
        def append_to(self, path: Path) -> Any:
            file = super().append_to(path)
            sync = file.sync
            file.sync = lambda: (order.append(path.parent.name), sync())[1]  # type: ignore[method-assign]
            return file

    opened = start()
    for tools in (opened.intake._tools, opened.dead_letter):
        object.__setattr__(tools, "disk" if hasattr(tools, "disk") else "_disk", Watched())
    first, *events = make_events(3)
    opened.intake.add([first, b"broken"], backfill=False, origin="")
    opened.intake.commit()
    order.clear()  # of the beginnings of the files, which are synced by themselves
    opened.intake.add([*events, b"broken too"], backfill=False, origin="")
    assert order == []
    assert [len(logged.payloads) for logged in opened.intake.commit()] == [2]
    assert sorted(order) == ["000001", "dead-letter"]
    assert opened.intake.commit() == []


def test_an_event_comes_in_once(
    start: Callable[[], Any],
    state: StateNames,
    make_events: Callable[..., list[bytes]],
    logged: Callable[..., list[bytes]],
) -> None:
    """Within a frame, across frames and across a restart the same bytes are stored once, and counted as duplicates."""
    first, second = make_events(2)
    opened = start()
    assert opened.add([first, first]) == (1, 1, {})
    assert opened.add([second, first]) == (1, 1, {})
    assert (opened.intake.accepted, opened.intake.duplicates) == (2, 2)
    assert start().add([second, first]) == (0, 2, {})
    assert logged(state.day(DAY).segment(1)) == [first, second]


def test_the_same_id_with_other_content_is_another_event(
    start: Callable[[], Any], make_event: Callable[..., bytes]
) -> None:
    assert start().add([make_event("a"), make_event("a", overall_threat_score=0.5)]) == (2, 0, {})


def test_a_sealed_day_knows_its_events(
    start: Callable[[], Any],
    state: StateNames,
    make_events: Callable[..., list[bytes]],
    seal: Callable[[str, int], None],
    logged: Callable[..., list[bytes]],
) -> None:
    """After sealing, with and without a restart, a duplicate is known, and a new event opens the next segment."""
    events = make_events(3)
    opened = start()
    opened.add(events)
    assert opened.intake.rotate(DAY).number == 1
    seal(DAY, 1)
    assert opened.add(events) == (0, 3, {})
    assert state.day(DAY).segments() == []
    again = start()
    (late,) = make_events(1, "late")
    assert again.add([*events, late]) == (1, 3, {})
    assert state.day(DAY).segments() == [2]
    assert logged(state.day(DAY).segment(2)) == [late]


def test_a_sealed_day_is_let_go_of_and_known_again_when_events_come(
    start: Callable[[], Any],
    state: StateNames,
    make_events: Callable[..., list[bytes]],
    seal: Callable[[str, int], None],
) -> None:
    """Nothing of a sealed day stays in memory, unless events came since; duplicates are known all the same."""
    events = make_events(3)
    opened = start()
    opened.add(events)
    opened.intake.rotate(DAY)
    seal(DAY, 1)
    opened.intake.forget(DAY)
    assert opened.intake._days == {}
    (late,) = make_events(1, "late")
    assert opened.add([*events, late]) == (1, 3, {})
    opened.intake.forget(DAY)
    assert len(opened.intake._days) == 1
    assert opened.add([*events, late]) == (0, 4, {})
    assert state.day(DAY).segments() == [2]


def test_events_that_come_while_a_day_is_sealed_go_to_the_next_segment(
    start: Callable[[], Any],
    state: StateNames,
    make_events: Callable[..., list[bytes]],
    logged: Callable[..., list[bytes]],
) -> None:
    opened = start()
    opened.add(make_events(2))
    key = opened.intake.rotate(DAY)
    assert (key.day, key.number) == (DAY, 1)
    late = make_events(2, "late")
    assert opened.add([*make_events(2), *late]) == (2, 2, {})
    assert logged(state.day(DAY).segment(2)) == late
    assert opened.intake.rotate(DAY).number == 2


def test_a_day_that_is_sealed_right_after_a_start_still_knows_its_events(
    start: Callable[[], Any], state: StateNames, make_events: Callable[..., list[bytes]]
) -> None:
    """The events of a recovered segment are known while it is being sealed, even where none came since the start."""
    events = make_events(5)
    start().add(events)
    again = start()
    assert again.intake.rotate(DAY).number == 1
    assert again.add(events) == (0, 5, {})
    assert state.day(DAY).segments() == [1]


def test_a_day_without_events_cannot_be_rotated(start: Callable[[], Any]) -> None:
    assert start().intake.rotate(DAY) is None


def test_old_events_need_the_mark_of_a_backfill(
    start: Callable[[], Any],
    make_event: Callable[..., bytes],
    dead_letters: Callable[[], list[dict[str, Any]]],
    clock: Any,
) -> None:
    """A week is the limit for a live sensor, to the second; a backfill may be decades old."""
    clock.seconds = NOON
    opened = start()
    within, beyond = make_event("in", NOON - 7 * A_DAY), make_event("out", NOON - 7 * A_DAY - 1)
    assert opened.add([within, beyond]) == (1, 0, {"too_old": 1})
    assert [(record["reason"], record["data"]) for record in dead_letters()] == [("too_old", beyond)]
    assert opened.add([beyond, make_event("1985", 486_000_000)], backfill=True) == (2, 0, {})


@pytest.mark.parametrize("backfill", [False, True])
def test_events_of_the_future_are_set_aside(
    start: Callable[[], Any],
    make_event: Callable[..., bytes],
    dead_letters: Callable[[], list[dict[str, Any]]],
    *,
    backfill: bool,
) -> None:
    """More than five minutes ahead is refused, marked as backfill or not, and makes no day."""
    within, beyond = make_event("in", NOON + 300), make_event("out", NOON + 301)
    assert start().add([within, beyond], backfill=backfill) == (1, 0, {"in_future": 1})
    assert [record["data"] for record in dead_letters()] == [beyond]


def test_refused_events_are_kept_with_their_reason_and_the_others_go_in(
    start: Callable[[], Any],
    make_event: Callable[..., bytes],
    dead_letters: Callable[[], list[dict[str, Any]]],
) -> None:
    bad = [b"\xff\xff broken", make_event("b", event_id=""), b""]
    accepted, duplicates, refused = start().add([bad[0], make_event(), bad[1], bad[2]])
    assert (accepted, duplicates) == (1, 0)
    assert refused == {"not_an_event": 1, "no_event_id": 2}
    assert [(record["origin"], record["data"]) for record in dead_letters()] == [("test", b) for b in bad]


def test_events_of_very_many_days_keep_few_files_open(
    start: Callable[[], Any],
    state: StateNames,
    make_event: Callable[..., bytes],
    logged: Callable[..., list[bytes]],
) -> None:
    """300 days in one group, and again one by one: descriptors stay bounded and nothing is lost."""
    opened = start()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count of names is all that is wanted
    first = [make_event(f"a{d}", NOON - d * A_DAY) for d in range(300)]
    second = [make_event(f"b{d}", NOON - d * A_DAY) for d in range(300)]
    assert opened.add(first, backfill=True) == (300, 0, {})
    most = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as above
    for event in second:
        assert opened.add([event], backfill=True) == (1, 0, {})
        most = max(most, len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - as above
    assert most - before <= 100
    found = [event for day in state.days() for event in logged(state.day(day).segment(1))]
    assert sorted(found) == sorted(first + second)
    assert start().add(first + second, backfill=True) == (0, 600, {})


def test_quiet_is_counted_from_the_last_event(
    start: Callable[[], Any], make_events: Callable[..., list[bytes]], clock: Any
) -> None:
    opened = start()
    assert opened.intake.quiet_s(DAY) is None
    opened.add(make_events(1))
    clock.seconds += 30
    assert opened.intake.quiet_s(DAY) == 30
    opened.add(make_events(1))
    assert opened.intake.quiet_s(DAY) == 30, "a duplicate is no news"


@pytest.mark.parametrize("damage", ["manifest.json", "columns.bin"])
def test_events_of_a_day_that_cannot_be_read_are_set_aside_and_all_others_go_in(  # noqa: PLR0917 - fixtures
    start: Callable[[], Any],
    state: StateNames,
    make_event: Callable[..., bytes],
    seal: Callable[[str, int], None],
    dead_letters: Callable[[], list[dict[str, Any]]],
    damage: str,
) -> None:
    """One damaged sealed day must not stop the intake of the others; its events are kept for later."""
    opened = start()
    opened.add([make_event("a")])
    opened.intake.rotate(DAY)
    seal(DAY, 1)
    path = state.day(DAY).generation(1).chunk / damage
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    again = start()
    tomorrow = make_event("t", NOON - A_DAY)
    late = make_event("late")
    assert again.add([late, tomorrow]) == (1, 0, {"day_unreadable": 1})
    assert [(record["reason"], record["data"]) for record in dead_letters()] == [("day_unreadable", late)]


def test_a_copy_of_the_state_directory_has_everything_committed(
    start: Callable[[], Any],
    state: StateNames,
    make_events: Callable[..., list[bytes]],
    logged: Callable[..., list[bytes]],
    tmp_path: Path,
) -> None:
    """What was committed is in a copy of the files taken while the intake is open."""
    events = make_events(50)
    start().add(events)
    shutil.copytree(state.root, tmp_path / "copy")
    assert logged(StateNames(tmp_path / "copy").day(DAY).segment(1)) == events


def test_an_event_larger_than_a_frame_is_refused(
    start: Callable[[], Any],
    make_event: Callable[..., bytes],
    dead_letters: Callable[[], list[dict[str, Any]]],
) -> None:
    """A file can hold such an event, and 32 of them would make a block that no reader of a sealed day takes."""
    large = make_event("large", fast_detector_reason="x" * (1 << 20))
    assert start().add([large, make_event()]) == (1, 0, {"too_long": 1})
    assert [record["data"] for record in dead_letters()] == [large]
