"""What analysts said stands beside the events, chooses them, and is listed; over sealing and late events."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.log import LogWriter
from services.common.days.log_format import FEEDBACK
from services.common.errors import AppiaError, UsageError
from services.common.feedback.remark import Remark, Verdict
from services.common.rpc import Deadline, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from services.common.rpc_server import Handler

OLD, OPEN = "2026-01-20", "2026-01-22"
SOON = Deadline()
TP, FP = Verdict.TRUE_POSITIVE, Verdict.FALSE_POSITIVE
NOON = 1_769_083_200_000_000_000


class Analysts:
    """Writes the log of feedback of a world as the ingester does."""

    def __init__(self, world: Any) -> None:
        world.disk.make_folder(world.state.feedback)
        self._log = LogWriter(world.disk, world.state.feedback_log(1))
        self._number = 0

    def say(self, event_id: str, says: Verdict | str = TP, analyst: str = "ana", **more: Any) -> str:
        """A verdict or a note; "" withdraws. Gives the feedback id."""
        fields = {"verdict": says} if isinstance(says, Verdict) else {"note": says}
        remark = Remark(f"f-{self._number}", event_id, analyst, NOON + self._number, **fields, **more)
        self._log.append(FEEDBACK, self._number, [remark.to_bytes()])
        self._number += 1
        return remark.feedback_id

    def close(self) -> None:
        self._log.close()


@pytest.fixture
def analysts(world: Any) -> Iterator[Analysts]:
    made = Analysts(world)
    yield made
    made.close()


@pytest.fixture
def ids(world: Any) -> list[str]:
    """A sealed and an open day; the ids of their events, the oldest first."""
    world.fill(OLD, 60, sealed=True)
    world.fill(OPEN, 40, sealed=False)
    return sorted(world.events, key=lambda i: world.events[i].event_timestamp.ToNanoseconds())


def _found(ask: Mapping[str, Handler], *wanted: str, **filters: Any) -> set[str]:
    answer: Any = ask["list"]({"limit": 1000, "filters": {"feedback": list(wanted), **filters}}, SOON)
    assert answer["receipt"]["rows"] == len(answer["events"])
    return {event["event_id"] for event in answer["events"]}


def _wait_for_remarks(ask: Mapping[str, Handler], until: Any, count: int) -> None:
    def are_there() -> bool:
        answer: Any = ask["feedback"]({"limit": 1000}, SOON)
        return len(answer["remarks"]) == count

    until(are_there)


def test_it_stands_beside_every_event_that_is_shown(
    ids: list[str], analysts: Analysts, replica: Callable[..., Any], world: Any
) -> None:
    """`get`, `list` and `similar` show the verdict and the notes of an event, the newest first; others have none."""
    analysts.say(ids[0], FP, confidence=4, tags=("backup", "nightly"))
    analysts.say(ids[0], "see the plan")
    analysts.say(ids[-1], TP, "bob")
    ask = replica(world)
    both = [
        {
            "verdict": None,
            "note": "see the plan",
            "confidence": None,
            "tags": [],
            "analyst": "ana",
            "time": "2026-01-22T12:00:00.000000Z",
        },
        {
            "verdict": "false_positive",
            "note": "",
            "confidence": 4,
            "tags": ["backup", "nightly"],
            "analyst": "ana",
            "time": "2026-01-22T12:00:00.000000Z",
        },
    ]
    assert ask["get"]({"event_id": ids[0]}, SOON)["fields"]["feedback"] == both
    shown = {
        event["event_id"]: event.get("feedback") for event in ask["list"]({"limit": 1000}, SOON)["events"]
    }
    assert shown.pop(ids[0]) == both
    assert [one["analyst"] for one in shown.pop(ids[-1])] == ["bob"]
    assert set(shown.values()) == {None}
    similar = ask["similar"]({"event_id": ids[1], "k": 99, "index": "attack"}, SOON)
    assert both in _values_of(similar, "feedback")


def _values_of(answer: Any, key: str) -> list[Any]:
    """Every value under a key, however deep."""
    if isinstance(answer, list):
        return [value for one in answer for value in _values_of(one, key)]
    if isinstance(answer, dict):
        own = [answer[key]] if key in answer else []
        return own + [value for one in answer.values() for value in _values_of(one, key)]
    return []


def test_of_very_many_remarks_the_verdicts_are_shown(
    ids: list[str], analysts: Analysts, replica: Callable[..., Any], world: Any
) -> None:
    """Notes of the same event beyond a handful are left to `feedback`; the verdict is never among what is left out."""
    analysts.say(ids[0], TP)
    for number in range(30):
        analysts.say(ids[0], f"note {number}")
    ask = replica(world)
    shown = ask["get"]({"event_id": ids[0]}, SOON)["fields"]["feedback"]
    assert [one["note"] for one in shown] == [f"note {number}" for number in range(29, 22, -1)] + [""]
    assert shown[-1]["verdict"] == "true_positive"
    assert len(ask["feedback"]({"event_id": ids[0], "limit": 1000}, SOON)["remarks"]) == 31


@pytest.mark.parametrize("sealed", [True, False])
def test_the_filter_is_exact(world: Any, analysts: Analysts, replica: Any, *, sealed: bool) -> None:
    """Each value finds the events that a loop over what was said finds, alone, together, and with other filters."""
    events = {event.event_id: event for event in world.fill(OLD, 400, sealed=sealed)}
    rng = np.random.default_rng(5)
    for event_id in rng.permutation(sorted(events))[:90].tolist():
        for _ in range(rng.integers(1, 4)):
            analysts.say(event_id, (TP, FP, "a note", "")[rng.integers(4)], ("ana", "bob")[rng.integers(2)])
    ask = replica(world)
    page = _standing(ask)
    expected = {
        "true_positive": {i for i, says in page.items() if "true_positive" in says},
        "false_positive": {i for i, says in page.items() if "false_positive" in says},
        "any": {i for i, says in page.items() if says},
        "none": {i for i in events if not page.get(i)},
    }
    assert min(len(found) for found in expected.values()) > 5
    for wanted, found in expected.items():
        assert _found(ask, wanted) == found
    assert _found(ask, "true_positive", "none") == expected["true_positive"] | expected["none"]
    ddos = {i for i, event in events.items() if event.final_classification == "DDoS"}
    assert _found(ask, "any", **{"class": "DDoS"}) == expected["any"] & ddos


def _standing(ask: Mapping[str, Handler]) -> dict[str, list[str]]:
    """What stands of each event that somebody spoke about, from the whole list of remarks."""
    answer: Any = ask["feedback"]({"limit": 1000}, SOON)
    found: dict[str, list[str]] = {}
    for one in answer["remarks"]:
        found.setdefault(one["event_id"], [])
        if one["stands"]:
            found[one["event_id"]].append(one["verdict"] or "note")
    return found


def test_several_events_of_one_id_are_all_found(world: Any, analysts: Analysts, replica: Any) -> None:
    """Feedback is about an id: every event that has it passes, in one segment and over several."""
    twins = world.make(OLD, 3)
    twins[1].event_id = twins[0].event_id
    other = world.make(OPEN, 2)
    other[0].event_id = twins[0].event_id
    world.write(OLD, twins)
    world.seal(OLD)
    world.write(OPEN, other)
    analysts.say(twins[0].event_id)
    answer = replica(world)["list"]({"filters": {"feedback": "any"}}, SOON)
    assert [event["event_id"] for event in answer["events"]] == [twins[0].event_id] * 3


def test_a_running_replica_follows(
    ids: list[str], world: Any, analysts: Analysts, replica: Any, until: Any
) -> None:
    """What is said, changed and withdrawn while it runs is seen without a restart."""
    ask = replica(world)
    assert _found(ask, "any") == set()
    analysts.say(ids[3], TP)
    _wait_for_remarks(ask, until, 1)
    assert _found(ask, "true_positive") == {ids[3]}
    analysts.say(ids[3], FP)
    analysts.say(ids[90], TP)
    _wait_for_remarks(ask, until, 3)
    assert (_found(ask, "true_positive"), _found(ask, "false_positive")) == ({ids[90]}, {ids[3]})
    analysts.say(ids[3], "")
    _wait_for_remarks(ask, until, 4)
    assert _found(ask, "any") == {ids[90]}


def test_it_outlives_sealing_and_late_events(
    world: Any, analysts: Analysts, replica: Any, until: Any
) -> None:
    """The same events pass while their day is open, sealed, and sealed anew with late ones that change every row."""
    first = world.fill(OPEN, 50, sealed=False)
    said = {event.event_id for event in first[10:20]}
    for event_id in said:
        analysts.say(event_id, FP)
    ask = replica(world)

    def state_and_rows() -> tuple[str, int]:
        (day,) = ask["days"]({}, SOON)["days"]
        return day["state"], day["rows"]

    assert _found(ask, "false_positive") == said
    world.seal(OPEN)
    until(lambda: state_and_rows() == ("sealed", 50))
    assert _found(ask, "false_positive") == said
    late = world.make(OPEN, 30, "late")
    world.write(OPEN, late, segment=2)
    until(lambda: state_and_rows()[1] == 80)
    analysts.say(late[0].event_id, FP)
    _wait_for_remarks(ask, until, 11)
    assert _found(ask, "false_positive") == said | {late[0].event_id}
    world.seal(OPEN, through=2)
    until(lambda: state_and_rows() == ("sealed", 80))
    assert _found(ask, "false_positive") == said | {late[0].event_id}


def test_the_list_goes_by_time_of_the_remark(
    ids: list[str], world: Any, analysts: Analysts, replica: Any
) -> None:
    """The newest remark comes first, with its event and whether it stands; one event's history can be asked for."""
    analysts.say(ids[0], TP)
    analysts.say(ids[50], "hm")
    analysts.say(ids[0], FP, "bob")
    analysts.say(ids[0], "")
    analysts.say("gone", TP)
    ask = replica(world)
    answer = ask["feedback"]({}, SOON)
    told = [(one["feedback_id"], one["stands"], one["withdraws"]) for one in answer["remarks"]]
    assert told == [
        ("f-4", True, False),
        ("f-3", False, True),
        ("f-2", True, False),
        ("f-1", True, False),
        ("f-0", False, False),
    ]
    assert [one["event"] and one["event"]["src_ip"] for one in answer["remarks"]] == [
        None,
        *(world.events[ids[n]].network_features.source_ip for n in (0, 0, 50, 0)),
    ]
    assert answer["faults"] == []
    history = ask["feedback"]({"event_id": ids[0], "limit": 2}, SOON)["remarks"]
    assert [one["feedback_id"] for one in history] == ["f-3", "f-2"]
    assert ask["feedback"]({"event_id": ids[1]}, SOON)["remarks"] == []
    with pytest.raises(NotFound, match="There is no event 'nowhere'"):
        ask["feedback"]({"event_id": "nowhere"}, SOON)


def test_the_list_takes_filters(ids: list[str], world: Any, analysts: Analysts, replica: Any) -> None:
    """Only remarks on events that pass are listed, those of other days and of events that are gone are not."""
    for event_id in [*ids[::3], "gone"]:
        analysts.say(event_id, TP)
    ask = replica(world)
    listed = ask["feedback"]({"limit": 1000, "filters": {"days": OPEN, "class": "DDoS"}}, SOON)["remarks"]
    wanted = [i for i in ids[::3] if OPEN in i and world.events[i].final_classification == "DDoS"]
    assert {one["event_id"] for one in listed} == set(wanted)
    assert wanted


@pytest.mark.parametrize("value", ["maybe", "", 1, ["any", "x"], [], None, True])
def test_another_value_of_the_filter_is_refused(ids: list[str], world: Any, replica: Any, value: Any) -> None:
    """One sentence names the filter and what is allowed."""
    assert ids
    with pytest.raises(
        UsageError, match=r"'feedback' must (be one of true_positive, false_positive, any, none|have 1)"
    ):
        replica(world)["list"]({"filters": {"feedback": value}}, SOON)


def test_damage_is_told(ids: list[str], world: Any, analysts: Analysts, replica: Any) -> None:
    """Where the log cannot be read the list says so, and what can be read is used."""
    analysts.say(ids[0], TP)
    world.state.feedback_log(0).write_bytes(b"?" * 60)
    ask = replica(world)
    answer = ask["feedback"]({}, SOON)
    assert [one["event_id"] for one in answer["remarks"]] == [ids[0]]
    assert [bool(re.search("feedback-000000.log .*header", fault)) for fault in answer["faults"]] == [True]
    for only, missing in ({"feedback": "any"}, ["feedback"]), ({}, []):
        receipt = ask["list"]({"filters": only}, SOON)["receipt"]
        assert [gap["day"] for gap in receipt["missing"]] == missing
        assert receipt["repeatable"] == (not missing)


def test_a_damaged_database_is_a_sentence(
    ids: list[str], world: Any, analysts: Analysts, replica: Any
) -> None:
    """The filter never passes for exact over a day that it could not look into."""
    analysts.say(ids[0], TP)
    ask = replica(world)
    path = world.state.day(OLD).generation(1).chunk / "metadata.db"
    path.chmod(0o640)
    raw = bytearray(path.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    path.write_bytes(raw)
    with pytest.raises(AppiaError, match=f"database of {OLD} is damaged: run `appia verify {OLD}`"):
        _found(ask, "any")
