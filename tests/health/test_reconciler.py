"""From what is seen to what is done: cases one by one, and what holds for every observation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.health.observation import (
    BACKUP,
    CORRUPT,
    MISSING,
    OK,
    REINDEX,
    REPAIR,
    STALE,
    Attempt,
    Day,
    Disk,
    Index,
    Intake,
    Observation,
)
from services.health.reconciler import Desired, Repair, reconcile

S = 1_000_000_000
NOW = 1_800_000_000 * S
WANTED = Desired()
ROOM = Disk("/state", 1000, 500, 50.0, 1.0)
QUIET = Intake("2026-11-20T10:00:00+00:00", 10, index_lag={"attack": 0.0})
SEEN = "corrupt in generation 1, version 2"


def index(name: str = "attack", state: str = CORRUPT, remedy: str = REPAIR) -> Index:
    return Index(name, state, "it is not as it should be", remedy, version=2)


def day(name: str = "2026-11-19", *indices: Index, **facts: object) -> Day:
    return replace(Day(name, sealed=True, rows=10, indices=indices, generation=1), **facts)  # type: ignore[arg-type]


def seen(*days: Day, **facts: object) -> Observation:
    whole = Observation(NOW, disks=(ROOM,), intake=QUIET, days=days)
    return replace(whole, **facts)  # type: ignore[arg-type]


def attempt(**facts: object) -> Attempt:
    ended = Attempt("repair", "2026-11-19/attack", SEEN, 1, NOW - 10_000 * S, ended_ns=NOW - 9_999 * S)
    return replace(ended, **facts)  # type: ignore[arg-type]


def done(observation: Observation, wanted: Desired = WANTED) -> list[str]:
    return [action.subject for action in reconcile(wanted, observation)]


BROKEN = day("2026-11-19", index())


def test_what_is_broken_is_repaired_by_the_operation_that_does_it() -> None:
    """The action names the operation of the ingester, its arguments, and why."""
    (action,) = reconcile(WANTED, seen(BROKEN))
    assert action == Repair("2026-11-19", "attack", SEEN, "it is not as it should be")
    assert (action.op, dict(action.args)) == ("repair", {"day": "2026-11-19", "index": "attack"})


@pytest.mark.parametrize(
    ("days", "subjects"),
    [
        pytest.param((), [], id="no days"),
        pytest.param((day("2026-11-19", index(state=OK, remedy="")),), [], id="all is well"),
        pytest.param((day("2026-11-19", index(state=MISSING)),), ["2026-11-19/attack"], id="missing"),
        pytest.param((day("2026-11-19", index(state=STALE)),), ["2026-11-19/attack"], id="of other events"),
        pytest.param((day("2026-11-19", index(state=STALE, remedy=REINDEX)),), [], id="of an older model"),
        pytest.param((day("2026-11-19", index(remedy=BACKUP)),), [], id="only a backup helps"),
        pytest.param((day("2026-11-18", index()), BROKEN), ["2026-11-19/attack"], id="the newest day first"),
        pytest.param(
            (day("2026-11-19", index(), fault="metadata.db is damaged"),),
            ["2026-11-19/chunk"],
            id="chunk first",
        ),
        pytest.param(
            (day("2026-11-19", index(), fault="events.log is damaged", repairable=False),),
            [],
            id="events that are damaged themselves",
        ),
        pytest.param((replace(BROKEN, held=True),), [], id="a day that is held"),
        pytest.param((replace(BROKEN, sealed=False),), [], id="a day that is open"),
        pytest.param(
            (day("2026-11-19", sealed=False, fault="CURRENT is missing", generation=0),),
            ["2026-11-19/chunk"],
            id="a sealed day that is not served",
        ),
        pytest.param(
            (replace(BROKEN, held=True), day("2026-11-01", index())), ["2026-11-01/attack"], id="another"
        ),
    ],
)
def test_each_state_of_days_has_its_answer(days: tuple[Day, ...], subjects: list[str]) -> None:
    """Only what can be made good from a day's own events is, and never two things at once."""
    assert done(seen(*days)) == subjects


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"intake": None}, id="the ingester does not answer"),
        pytest.param({"intake": replace(QUIET, paused=True)}, id="the intake has no room"),
        pytest.param({"intake": replace(QUIET, index_lag={"temporal": 10_001.0})}, id="the intake is behind"),
        pytest.param({"disks": ()}, id="the disk cannot be seen"),
        pytest.param({"disks": (ROOM, replace(ROOM, used_percent=90.0))}, id="a disk is too full"),
        pytest.param({"days": None}, id="no look at the days yet"),
        pytest.param(
            {"attempts": (attempt(ended_ns=0, job="repair-1", subject="x"),)}, id="one is being done"
        ),
    ],
)
def test_nothing_is_begun_where_it_would_do_harm_or_nobody_knows(facts: dict[str, object]) -> None:
    """What cannot be seen is no reason to act."""
    assert done(seen(BROKEN, **facts)) == []


@pytest.mark.parametrize(
    ("before", "again"),
    [
        pytest.param(attempt(last_ns=NOW - 299 * S), False, id="within the first pause"),
        pytest.param(attempt(last_ns=NOW - 300 * S), True, id="after the first pause"),
        pytest.param(attempt(tries=3, last_ns=NOW - 1199 * S), False, id="within the third pause"),
        pytest.param(attempt(tries=3, last_ns=NOW - 1200 * S), True, id="after the third pause"),
        pytest.param(attempt(tries=5, last_ns=0), False, id="too often"),
        pytest.param(
            attempt(tries=5, seen="missing in generation 1, version 2"), True, id="it is another fault"
        ),
        pytest.param(attempt(tries=5, seen="x", last_ns=NOW - 299 * S), False, id="another fault just now"),
        pytest.param(attempt(last_ns=NOW + 3600 * S), True, id="the clock was set back"),
        pytest.param(attempt(subject="2026-11-18/attack", last_ns=NOW), True, id="another day"),
    ],
)
def test_what_failed_is_tried_again_after_growing_pauses_and_not_for_ever(
    before: Attempt, *, again: bool
) -> None:
    """A repair that fails is tried after 300 s, 600 s, ... and no more after five failures, until something changes."""
    assert done(seen(BROKEN, attempts=(before,))) == (["2026-11-19/attack"] if again else [])


def test_an_index_whose_repairs_are_off_is_left_alone() -> None:
    """The others are repaired."""
    days = day("2026-11-19", index("attack"), index("temporal"))
    assert done(seen(days), Desired(parts=frozenset({"temporal"}))) == ["2026-11-19/temporal"]
    assert done(seen(days), Desired(parts=frozenset())) == []


def test_pauses_have_an_end() -> None:
    """Whatever the number of failures, a day is the longest."""
    assert [WANTED.pause_s(n) for n in (1, 2, 3, 100_000)] == [300.0, 600.0, 1200.0, 86_400.0]


NAMES = ("attack", "semantic", "temporal", "entity")
INDICES = st.builds(
    Index,
    st.sampled_from(NAMES),
    st.sampled_from((OK, MISSING, STALE, CORRUPT)),
    remedy=st.sampled_from(("", REPAIR, REINDEX, BACKUP)),
    version=st.integers(0, 3),
)
DAYS = st.builds(
    Day,
    st.dates().map(str),
    st.booleans(),
    st.integers(0, 9),
    st.lists(INDICES, max_size=4, unique_by=lambda one: one.name).map(tuple),
    fault=st.sampled_from(("", "damaged")),
    repairable=st.booleans(),
    generation=st.integers(1, 3),
    held=st.booleans(),
)
ATTEMPTS = st.builds(
    Attempt,
    st.just("repair"),
    st.builds("{}/{}".format, st.dates().map(str), st.sampled_from(NAMES)),
    st.sampled_from((SEEN, "generation 1")),
    st.integers(1, 9),
    st.integers(NOW - 200_000 * S, NOW),
    ended_ns=st.sampled_from((0, NOW, NOW, NOW)),
)
OBSERVATIONS = st.builds(
    Observation,
    st.just(NOW),
    st.lists(
        st.builds(Disk, st.just("/"), st.just(1), st.just(1), st.floats(0, 100), st.just(0.0)), max_size=2
    ).map(tuple),
    intake=st.none()
    | st.builds(
        Intake,
        st.just("now"),
        st.just(0),
        index_lag=st.dictionaries(st.sampled_from(NAMES), st.floats(0, 20_000), max_size=2),
        paused=st.booleans(),
    ),
    days=st.none() | st.lists(DAYS, max_size=5, unique_by=lambda one: one.day).map(tuple),
    attempts=st.lists(ATTEMPTS, max_size=3).map(tuple),
)


@given(OBSERVATIONS)
def test_whatever_is_seen_a_repair_is_needed_allowed_and_alone(observation: Observation) -> None:
    """One at a time, of the newest day that may be repaired, never of one that is held or fine, never without room."""
    actions = reconcile(WANTED, observation)
    assert actions == reconcile(WANTED, observation)
    assert len(actions) <= 1
    for action in actions:
        intake, found = observation.intake, observation.day(action.day)
        assert intake is not None
        assert not intake.paused
        assert intake.index_lag_rows <= WANTED.most_lag_rows
        assert observation.disks
        assert all(disk.used_percent < WANTED.stop_percent for disk in observation.disks)
        assert not any(one.runs for one in observation.attempts)
        assert found is not None
        assert found.sealed or found.fault
        assert not found.held
        assert isinstance(action, Repair)
        states = {one.name: one for one in found.indices}
        if action.part in states:
            assert (states[action.part].state != OK, states[action.part].remedy) == (True, REPAIR)
            assert not found.fault
        else:
            assert (bool(found.fault), found.repairable) == (True, True)


@given(OBSERVATIONS)
def test_what_was_just_tried_is_not_tried_again(observation: Observation) -> None:
    """Whatever was decided, the same moment decides it no second time."""
    for action in reconcile(WANTED, observation):
        tried = Attempt(action.op, action.subject, action.seen, 1, NOW, ended_ns=NOW)
        others = tuple(
            one for one in observation.attempts if (one.op, one.subject) != (action.op, action.subject)
        )
        assert action not in reconcile(WANTED, replace(observation, attempts=(*others, tried)))


@given(DAYS, st.integers(1, 20))
def test_failures_in_a_row_come_to_an_end(broken: Day, most: int) -> None:
    """However long one waits, no more than the allowed number of attempts is made on what stays as it is."""
    wanted, now, tries = replace(WANTED, tries=most), NOW, 0
    attempts: tuple[Attempt, ...] = ()
    for _ in range(3 * most):
        now += 100_000 * S
        found = reconcile(wanted, replace(seen(broken, attempts=attempts), time_ns=now))
        for action in found:
            before = {one.subject: one.tries for one in attempts}
            tried = Attempt(
                action.op, action.subject, action.seen, before.get(action.subject, 0) + 1, now, ended_ns=now
            )
            attempts = (*(one for one in attempts if one.subject != action.subject), tried)
            tries += 1
    assert tries <= most * max(len(broken.indices), 1)
    assert all(one.tries <= most for one in attempts)
