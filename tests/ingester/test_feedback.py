"""What analysts say is acknowledged when it is on disk, once, and is there again after a start."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.feedback.follower import read_feedback
from services.common.rpc import NotFound
from services.common.system_calls import SystemCalls
from services.ingester.feedback import MOST_OF_AN_EVENT, FeedbackDesk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.common.days.names import StateNames


@pytest.fixture
def open_desk(state: StateNames, clock: Any) -> Iterator[Callable[..., FeedbackDesk]]:
    """Desks of the state directory, as starts of the ingester make them; the one before is left as it is."""
    made: list[FeedbackDesk] = []

    def run(disk: Disk | None = None) -> FeedbackDesk:
        made.append(FeedbackDesk(state, disk or Disk(), clock.ns))
        return made[-1]

    yield run
    for desk in made:
        desk.close()


def _said(number: int, **more: Any) -> dict[str, Any]:
    return {"feedback_id": f"f-{number}", "event_id": "e-1", "analyst": "ana", **more}


def test_it_is_kept_over_starts(state: StateNames, open_desk: Any, clock: Any) -> None:
    """Every start goes on behind what is there, in a file of its own, which it makes only when it has something."""
    open_desk()
    assert not state.feedback.exists()
    first = open_desk()
    assert first.take(_said(1, verdict="true_positive", confidence=4)) == {
        "feedback_id": "f-1",
        "event_id": "e-1",
        "new": True,
    }
    second = open_desk()
    second.take(_said(2, note="and again", tags=["c2"]))
    assert state.feedback_logs() == [1, 2]
    (_, note), (_, verdict) = read_feedback(state).standing("e-1")
    assert (verdict.verdict, verdict.confidence, verdict.time_ns) == ("true_positive", 4, clock.ns())
    assert (note.note, note.tags) == ("and again", ("c2",))


def test_sent_again_it_is_written_once(state: StateNames, open_desk: Any) -> None:
    """The same id with the same words is acknowledged without a second record, also after a start; others are not."""
    said = _said(1, verdict="false_positive", note="backup")
    open_desk().take(said)
    desk = open_desk()
    assert [desk.take(said)["new"], desk.take(said)["new"]] == [False, False]
    with pytest.raises(UsageError, match="'f-1' belongs to another remark"):
        desk.take({**said, "note": "something else"})
    assert read_feedback(state).count == 1


def test_only_what_stands_can_be_withdrawn(state: StateNames, open_desk: Any) -> None:
    """A withdrawal without anything to take back, or of what another said, is refused."""
    desk = open_desk()
    desk.take(_said(1, verdict="true_positive"))
    with pytest.raises(NotFound, match="Nothing that bob said about the event 'e-1' stands"):
        desk.take(_said(2, analyst="bob", withdraw=True))
    desk.take(_said(3, withdraw=True))
    with pytest.raises(NotFound, match="Nothing that ana said"):
        desk.take(_said(4, withdraw=True))
    assert read_feedback(state).standing("e-1") == []


def test_an_event_takes_so_many_and_no_more(open_desk: Any) -> None:
    """A runaway script cannot fill memory with one event; taking back is still allowed."""
    desk = open_desk()
    for number in range(MOST_OF_AN_EVENT):
        desk.take(_said(number, note="again"))
    with pytest.raises(AppiaError, match="takes no more"):
        desk.take(_said(MOST_OF_AN_EVENT, note="again"))
    assert desk.take(_said(MOST_OF_AN_EVENT + 1, withdraw=True))["new"]


def test_several_at_a_time_take_turns(state: StateNames, open_desk: Any) -> None:
    """From four threads every remark is written whole and once, though each is sent twice."""
    desk = open_desk()

    def work() -> None:
        for number in range(50):
            desk.take(_said(number, note=f"note {number}"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.note for _, one in read_feedback(state).newest_first()) == sorted(
        f"note {number}" for number in range(50)
    )


class FailingCalls(SystemCalls):
    """Fails a step of one write: "write" after half of the bytes, or "sync"."""

    def __init__(self) -> None:
        self.fails = ""

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if self.fails == "write":
            super().write(fd, memoryview(data)[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return super().write(fd, data)

    def sync_data(self, fd: int) -> None:
        if self.fails == "sync":
            raise OSError(5, "Input/output error")
        super().sync_data(fd)


@pytest.mark.parametrize(("step", "why"), [("write", "No space left"), ("sync", "Input/output error")])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_disk_that_fails_acknowledges_nothing(
    state: StateNames, open_desk: Any, step: str, why: str, *, is_first: bool
) -> None:
    """What could not be written is refused and is not there; once the disk works it is taken, and nothing is lost."""
    calls = FailingCalls()
    desk = open_desk(Disk(calls))
    if not is_first:
        desk.take(_said(1, note="before"))
    calls.fails = step
    with pytest.raises(AppiaError, match=f"{why}.*is not kept"):
        desk.take(_said(2, note="lost?"))
    assert read_feedback(state).count == (0 if is_first else 1)
    calls.fails = ""
    assert desk.take(_said(2, note="lost?"))["new"]
    notes = [one.note for _, one in read_feedback(state).newest_first()]
    assert notes == ["lost?"] + ([] if is_first else ["before"])


def test_damage_is_said_and_the_rest_is_used(state: StateNames, open_desk: Any) -> None:
    """A start names what cannot be read; new feedback is taken all the same."""
    open_desk().take(_said(1, note="one"))
    state.feedback_log(1).write_bytes(b"?" * 50)
    desk = open_desk()
    assert len(desk.faults) == 1
    assert desk.take(_said(2, note="two"))["new"]
