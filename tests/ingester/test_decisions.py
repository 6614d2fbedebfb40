"""The desk of decisions: what it takes, leaves out and refuses, what is on disk when, and what is removed."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from services.common.decisions.follower import DecisionFollower
from services.common.durable import Disk
from services.common.events.network_security_pb2 import Detection, DetectionBatch
from services.common.rest.storage_keys import new_storage_keys, open_log_keys
from services.ingester.dead_letter import DeadLetter
from services.ingester.decisions import DecisionDesk, DeskTools, Keeping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.common.days.names import StateNames
    from services.common.durable import AppendFile
    from tests.ingester.conftest import Clock

    Make = Callable[..., DecisionDesk]

NOON = 1_769_083_200
"""2026-01-22T12:00:00Z"""


def batch(*addresses: str, **fields: Any) -> bytes:
    given = {"timestamp": NOON, "action": "BLOCK", **fields}
    return DetectionBatch(
        detections=[Detection(src_ip=address, **given) for address in addresses]
    ).SerializeToString()


@pytest.fixture
def make(state: StateNames, disk: Disk, clock: Clock) -> Iterator[Make]:
    """A desk as a start of the ingester makes it; the one before is left as a crash leaves it."""
    desks: list[DecisionDesk] = []

    def open_desk(with_disk: Disk = disk, **keeping: int) -> DecisionDesk:
        tools = DeskTools(with_disk, DeadLetter(disk, state.dead_letter, 1 << 20, clock.ns), clock.ns)
        desks.append(DecisionDesk(state, tools, Keeping(**keeping)))
        return desks[-1]

    yield open_desk
    for desk in desks:
        desk.close()


def test_decisions_are_kept_once_also_after_a_start(make: Make, state: StateNames) -> None:
    """A decision that comes again, in another batch or after a start, is known and not written again."""
    desk = make()
    first = desk.add([batch("192.0.2.1", "192.0.2.2"), batch("192.0.2.1")], "test")
    assert (first.accepted, first.duplicates, first.refused) == (2, 1, {})
    desk.commit()
    later = make().add([batch("192.0.2.2", "192.0.2.3")], "test")
    assert (later.accepted, later.duplicates) == (1, 1)
    found = DecisionFollower(state)
    assert found.poll()
    assert (len(found.page), found.page.end, found.faults) == (3, 3, ())


def test_what_is_no_decision_is_refused_alone(
    make: Make, dead_letters: Callable[[], list[dict[str, Any]]]
) -> None:
    """Of a batch the good ones are taken; others are counted by reason and kept in the dead letter."""
    desk = make()
    bad = DetectionBatch(
        detections=[
            Detection(src_ip="10.0.0.0/8", timestamp=NOON),
            Detection(src_ip="192.0.2.1", timestamp=NOON + 3600),
            Detection(src_ip="192.0.2.1"),
            Detection(src_ip="192.0.2.1", timestamp=NOON),
        ]
    )
    verdict = desk.add([bad.SerializeToString(), b"\xff\xff", b"\x10\x01"], "a firewall")
    assert verdict.accepted == 1
    assert verdict.refused == {"decision_address": 1, "decision_time": 2, "not_decisions": 2}
    kept = dead_letters()
    assert {one["origin"] for one in kept} == {"a firewall"}
    assert DetectionBatch.FromString(kept[0]["data"]).detections[0].src_ip == "10.0.0.0/8"


def test_a_write_that_fails_for_want_of_room_takes_nothing(make: Make, state: StateNames) -> None:
    """Where the disk is full nothing is known: the same decision is taken when there is room."""

    class Full(Disk):
        room = False

        def append_to(self, path: Path, mode: int = 0o600) -> AppendFile:
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().append_to(path, mode)

    full = Full()
    desk = make(full)
    with pytest.raises(OSError, match="No space left"):
        desk.add([batch("192.0.2.1")], "test")
    full.room = True
    assert desk.add([batch("192.0.2.1")], "test").accepted == 1
    desk.commit()
    found = DecisionFollower(state)
    found.poll()
    assert [int(one["number"]) for one in found.page.runs[0].rows] == [0]


def test_the_oldest_are_removed(make: Make, state: StateNames) -> None:
    """What is kept stays below its bound; followers forget what was removed, and numbers go on."""
    desk = make(most_bytes=64 << 10)
    follower = DecisionFollower(state)
    for number in range(60):
        desk.add([batch(*(f"10.{number}.{i}.1" for i in range(100)))], "test")
        desk.commit()
        follower.poll()
    size = sum(state.decisions.path(number).stat().st_size for number in state.decisions.numbers())
    assert size <= 64 << 10
    assert 1 not in state.decisions.numbers()
    page = follower.page
    assert page.first > 0
    assert (page.end, len(page)) == (6000, 6000 - page.first)
    anew = DecisionFollower(state)
    anew.poll()
    assert (anew.page.first, anew.page.end, len(anew.page)) == (page.first, page.end, len(page))


def test_a_tail_that_was_cut_off_is_left_behind(make: Make, state: StateNames) -> None:
    """Half a record at the end of a file, as a crash leaves it, hides nothing of what comes after a start."""
    desk = make()
    desk.add([batch("192.0.2.1")], "test")
    desk.commit()
    with state.decisions.path(1).open("ab") as file:
        file.write(b"\x99" * 7)
    again = make()
    assert again.add([batch("192.0.2.1", "192.0.2.2")], "test").duplicates == 1
    again.commit()
    found = DecisionFollower(state)
    found.poll()
    assert (len(found.page), found.faults) == (2, ())


def test_they_are_encrypted_where_there_is_a_key(
    state: StateNames, disk: Disk, clock: Clock, tmp_path: Path
) -> None:
    """Nothing of a decision stands readable in the log; who has the key reads it, and without it the fault is said."""
    file = tmp_path / "storage.key"
    new_storage_keys(disk, file)
    keys = open_log_keys(file, lambda _: None, require_encryption=True)
    dead_letter = DeadLetter(disk, state.dead_letter, 1 << 20, clock.ns, keys)
    desk = DecisionDesk(state, DeskTools(disk, dead_letter, clock.ns, keys))
    desk.add([batch("192.0.2.1", description="very secret rule")], "test")
    desk.close()
    assert b"secret" not in state.decisions.path(1).read_bytes()
    with_key, without = DecisionFollower(state, keys), DecisionFollower(state)
    with_key.poll()
    without.poll()
    assert (len(with_key.page), with_key.faults) == (1, ())
    assert len(without.page) == 0
    assert "encrypted" in without.faults[0]
