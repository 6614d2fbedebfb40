"""The log of feedback is read on from where it was read before, over several files, torn and damaged ones included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.log import LogReader, LogWriter
from services.common.days.log_format import EVENT, FEEDBACK, Record
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.feedback.follower import FeedbackFollower, read_feedback

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.days.names import StateNames
    from services.common.feedback.remark import Remark

    Make = Callable[..., Remark]
    Write = Callable[..., LogWriter]


def _ids(follower: FeedbackFollower) -> list[str]:
    return [one.feedback_id for _, one in follower.page.newest_first()][::-1]


def test_without_feedback_there_is_nothing(state: StateNames) -> None:
    """A state directory of before has no such folder, and that is no fault."""
    follower = FeedbackFollower(state)
    assert (follower.poll(), _ids(follower), follower.faults) == (False, [], ())


def test_what_is_new_is_found(state: StateNames, remark: Make, write: Write) -> None:
    """Remarks of a growing file, then of a later file, come in order; looking again finds nothing."""
    follower = FeedbackFollower(state)
    log = write(1, [remark(0), remark(1)], leave_open=True)
    assert (follower.poll(), _ids(follower)) == (True, ["f-0", "f-1"])
    assert not follower.poll()
    log.append(FEEDBACK, 2, [remark(2).to_bytes()])
    assert (follower.poll(), follower.next_lsn) == (True, 3)
    log.append(FEEDBACK, 3, [remark(3).to_bytes()])
    log.close()
    write(2, [remark(4)], 4)
    assert (follower.poll(), _ids(follower)) == (True, ["f-0", "f-1", "f-2", "f-3", "f-4"])
    assert (follower.poll(), follower.faults) == (False, ())


def test_a_record_that_is_being_written_is_waited_for(state: StateNames, remark: Make, write: Write) -> None:
    """At any cut the whole records are there, and the rest when it has come."""
    write(1, [remark(0), remark(1)])
    path = state.feedback_log(1)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        follower = FeedbackFollower(state)
        follower.poll()
        seen = _ids(follower)
        assert seen in ([], ["f-0"])
        path.write_bytes(whole)
        assert follower.poll()
        assert (_ids(follower), follower.faults) == (["f-0", "f-1"], ())


def test_a_torn_end_is_passed_over_by_the_next_file(state: StateNames, remark: Make, write: Write) -> None:
    """What a power cut left at the end of a file is nothing that was acknowledged, so it is no fault."""
    write(1, [remark(0), remark(1)])
    path = state.feedback_log(1)
    path.write_bytes(path.read_bytes()[:-3])
    write(2, [remark(2)], 1)
    follower = FeedbackFollower(state)
    follower.poll()
    assert (_ids(follower), follower.faults) == (["f-0", "f-2"], ())


def test_damage_in_the_middle_is_named_and_costs_nothing_else(
    state: StateNames, remark: Make, write: Write
) -> None:
    """Remarks before and behind bad bytes are read; who needs all of them is refused."""
    write(1, [remark(0), remark(1), remark(2)])
    path = state.feedback_log(1)
    raw = bytearray(path.read_bytes())
    log = LogReader(path)
    second: Any = list(log.scan())[1]
    log.close()
    assert isinstance(second, Record)
    raw[second.offset + 20] ^= 1
    path.write_bytes(raw)
    follower = FeedbackFollower(state)
    follower.poll()
    assert _ids(follower) == ["f-0", "f-2"]
    assert [fault.split(" at ")[0] for fault in follower.faults] == [
        f"feedback-000001.log holds {second.end - second.offset} damaged bytes"
    ]
    assert not follower.poll()
    with pytest.raises(AppiaError, match="cannot be read whole"):
        read_feedback(state)


@pytest.mark.parametrize("fault", ["head", "kind"])
def test_what_is_no_feedback_is_no_remark(state: StateNames, remark: Make, write: Write, fault: str) -> None:
    """A file that is no log is a fault; a record of a kind that a later release may add is passed over."""
    write(2, [remark(5)], 5)
    path = state.feedback_log(1)
    if fault == "head":
        path.write_bytes(b"x" * 100)
    else:
        other = LogWriter(Disk(), path)
        other.append(EVENT, 0, [b"something"])
        other.close()
    follower = FeedbackFollower(state)
    follower.poll()
    assert (_ids(follower), len(follower.faults)) == (["f-5"], 1 if fault == "head" else 0)


def test_reading_at_once_gives_the_same(state: StateNames, remark: Make, write: Write) -> None:
    """`read_feedback` gives what following the log gives."""
    write(1, [remark(0), remark(1, "fp", event_id="e-2")])
    page = read_feedback(state)
    assert (page.count, set(page.verdicts)) == (2, {"e-1", "e-2"})
