"""What is refused is kept with its reason, up to a cap, and counted in any case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.common.durable import Disk
from services.common.system_calls import SystemCalls
from services.ingester.dead_letter import SAMPLED_A_SECOND, DeadLetter
from services.ingester.intake import Intake, IntakeTools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.common.days.names import StateNames


@pytest.fixture
def open_letter(state: StateNames, disk: Disk, clock: Any) -> Iterator[Callable[..., DeadLetter]]:
    opened: list[DeadLetter] = []

    def make(cap: int = 1 << 20) -> DeadLetter:
        opened.append(DeadLetter(disk, state.dead_letter, cap, clock.ns))
        return opened[-1]

    yield make
    for letter in opened:
        letter.close()


def test_a_refused_event_is_kept_with_all_that_is_known(
    open_letter: Callable[..., DeadLetter], dead_letters: Callable[[], list[dict[str, Any]]], clock: Any
) -> None:
    letter = open_letter()
    letter.keep("bad_source_ip", "'x' is not an address", "v2 sender 0x1", b"\x00\xff")
    letter.sync()
    assert dead_letters() == [
        {
            "reason": "bad_source_ip",
            "detail": "'x' is not an address",
            "origin": "v2 sender 0x1",
            "received_ns": clock.ns(),
            "data": b"\x00\xff",
        }
    ]
    assert letter.counts == {"bad_source_ip": 1}


def test_what_is_refused_is_on_disk_before_its_sender_hears_of_it(
    state: StateNames, clock: Any, make_event: Callable[..., bytes]
) -> None:
    """The group is acknowledged after `commit`; the last that happened to the dead letter until then is a sync."""
    happened: list[str] = []

    class Noting(SystemCalls):
        watched = -1

        def open(self, path: Path | str, flags: int, mode: int = 0o640) -> int:
            fd = super().open(path, flags, mode)
            if "refused-" in str(path):
                self.watched = fd
            return fd

        def write(self, fd: int, data: bytes | memoryview) -> int:
            if fd == self.watched:
                happened.append("write")
            return super().write(fd, data)

        def sync_data(self, fd: int) -> None:
            if fd == self.watched:
                happened.append("sync")
            super().sync_data(fd)

    disk = Disk(Noting())
    letter = DeadLetter(disk, state.dead_letter, 1 << 20, clock.ns)
    intake = Intake(state, [], IntakeTools(disk, letter, clock.ns, clock.monotonic))
    for payload in (b"nonsense", make_event(), b"more nonsense"):
        intake.add([payload], backfill=False, origin="v2")
    intake.commit()
    assert happened[-3:] == ["write", "write", "sync"]
    intake.close()


def test_nothing_refused_leaves_no_file(open_letter: Callable[..., DeadLetter], state: StateNames) -> None:
    open_letter().sync()
    assert not state.dead_letter.exists()


def test_a_restart_writes_a_new_file_behind_the_old_ones(
    open_letter: Callable[..., DeadLetter],
    state: StateNames,
    dead_letters: Callable[[], list[dict[str, Any]]],
) -> None:
    for reason in ("first", "second"):
        letter = open_letter()
        letter.keep(reason, "", "", b"")
        letter.sync()
    assert sorted(p.name for p in state.dead_letter.iterdir()) == [
        "refused-000001.log",
        "refused-000002.log",
    ]
    assert [record["reason"] for record in dead_letters()] == ["first", "second"]


def test_a_foreign_file_in_the_folder_does_no_harm(
    open_letter: Callable[..., DeadLetter], state: StateNames
) -> None:
    """An operator's copy beside the logs must not keep the ingester from refusing an event."""
    state.dead_letter.mkdir()
    (state.dead_letter / "refused-000001 (copy).log").write_bytes(b"")
    open_letter().keep("late", "", "", b"")
    assert (state.dead_letter / "refused-000001.log").exists()


def test_the_cap_holds_and_the_rest_is_counted(
    open_letter: Callable[..., DeadLetter],
    state: StateNames,
    dead_letters: Callable[[], list[dict[str, Any]]],
) -> None:
    """Beyond the cap nothing is kept but everything is counted, and a restart does not begin anew."""
    letter = open_letter(cap=5000)
    for _ in range(10):
        letter.keep("large", "", "", bytes(1000))
    letter.sync()
    assert letter.counts["large"] == 10
    kept = len(dead_letters())
    assert 1 <= kept < 5
    assert letter.not_kept == 10 - kept
    again = open_letter(cap=5000)
    again.keep("large", "", "", bytes(1000))
    assert again.not_kept == 1
    assert sum(path.stat().st_size for path in state.dead_letter.iterdir()) < 5000


def test_forged_frames_are_sampled(
    open_letter: Callable[..., DeadLetter], clock: Any, dead_letters: Callable[[], list[dict[str, Any]]]
) -> None:
    """Of many forged frames in a second some are kept and all are counted; the next second begins anew."""
    letter = open_letter()
    for _ in range(100):
        letter.sample("bad_tag", "", "v2", b"forged")
    assert (letter.counts["bad_tag"], letter.not_kept) == (100, 100 - SAMPLED_A_SECOND)
    clock.seconds += 1
    letter.sample("bad_tag", "", "v2", b"forged")
    letter.sync()
    assert len(dead_letters()) == SAMPLED_A_SECOND + 1


def test_forged_frames_leave_room_for_what_is_refused(
    open_letter: Callable[..., DeadLetter], clock: Any, dead_letters: Callable[[], list[dict[str, Any]]]
) -> None:
    """Whoever has no key can fill half of the cap at most; an authentic refusal is still kept then."""
    letter = open_letter(cap=10_000)
    for _ in range(100):
        letter.sample("bad_tag", "", "v2", bytes(500))
        clock.seconds += 1
    letter.keep("bad_source_ip", "", "v2", bytes(500))
    letter.sync()
    kept = [record["reason"] for record in dead_letters()]
    assert kept[-1] == "bad_source_ip"
    assert 4_000 < 500 * kept.count("bad_tag") < 6_000
    assert letter.counts["bad_tag"] == 100
