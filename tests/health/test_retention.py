"""The planner drops and shrinks the oldest days first, never more than needed, and nothing that has to stay."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.health.retention import (
    SMALLER,
    Drop,
    Limits,
    Plan,
    Repack,
    Space,
    StoredDay,
    plan_retention,
)

TODAY = date(2026, 11, 20)
GB = 1 << 30
FREE = Limits(keep_percent=0, quantise_after_days=0)


def before(days: int) -> str:
    return (TODAY - timedelta(days=days)).isoformat()


def week(count: int, size: int = GB, *, packable: int = 0) -> list[StoredDay]:
    """So many sealed days, the newest yesterday's."""
    packs = {"attack": packable} if packable else {}
    return [StoredDay(before(age), size, packable=packs) for age in range(count, 0, -1)]


def plan(days: list[StoredDay], limits: Limits, free: int = 1000 * GB, total: int = 2000 * GB) -> Plan:
    return plan_retention(days, Space(total, free), limits, TODAY.isoformat())


def dropped(found: Plan) -> list[int]:
    """The ages of the days that are to be dropped."""
    return [(TODAY - date.fromisoformat(drop.day)).days for drop in found.drops]


@pytest.mark.parametrize(
    ("limits", "ages"),
    [
        (FREE, []),
        (replace(FREE, keep_days=40), []),
        (replace(FREE, keep_days=30), [30]),
        (replace(FREE, keep_days=28), [30, 29, 28]),
        (replace(FREE, keep_days=1), list(range(30, 6, -1))),
        (replace(FREE, keep_bytes=30 * GB), []),
        (replace(FREE, keep_bytes=30 * GB - 1), [30]),
        (replace(FREE, keep_bytes=28 * GB + 1), [30, 29]),
        (replace(FREE, keep_bytes=1), list(range(30, 6, -1))),
        (replace(FREE, keep_bytes=25 * GB, keep_days=29), [30, 29, 28, 27, 26]),
    ],
)
def test_days_go_by_age_and_by_budget(limits: Limits, ages: list[int]) -> None:
    """Thirty days of a GiB each: the oldest go, as many as needed, and the last seven stay whatever the limits say."""
    assert dropped(plan(week(30), limits)) == ages


def test_the_share_of_the_disk_counts_what_else_lies_there() -> None:
    """100 GiB of which 80 % may be used: 60 GiB are others', so twenty days of a GiB fit beside them."""
    found = plan(week(30), replace(FREE, keep_percent=80), free=10 * GB, total=100 * GB)
    assert (found.budget_bytes, dropped(found)) == (20 * GB, list(range(30, 20, -1)))


@pytest.mark.parametrize(
    "kept", [{"held": True}, {"sealed": False}, {"going": True}], ids=["held", "not sealed", "going"]
)
def test_what_has_to_stay_stays(kept: dict[str, bool]) -> None:
    """The next oldest goes in its place; one that is going counts as gone."""
    days = week(30)
    days[0] = replace(days[0], **kept)
    found = plan(days, replace(FREE, keep_bytes=28 * GB))
    assert dropped(found) == ([29] if "going" in kept else [29, 28])


def test_what_cannot_be_reached_is_told() -> None:
    """All days are held: nothing goes, and what is over the budget is named."""
    found = plan([replace(one, held=True) for one in week(30)], replace(FREE, keep_bytes=20 * GB))
    assert (found.drops, found.short_bytes, found.held, found.days_left) == ((), 10 * GB, 30, 0.0)


def test_days_of_the_future_are_never_touched() -> None:
    """A sensor's clock was wrong: its day is not the oldest."""
    days = [*week(10), StoredDay("2027-01-01", GB), StoredDay(TODAY.isoformat(), GB)]
    assert dropped(plan(days, replace(FREE, keep_bytes=1))) == [10, 9, 8, 7]


def test_old_days_are_made_smaller_before_any_is_dropped() -> None:
    """Half of each day are vectors: what shrinking by age frees is not dropped as well."""
    limits = replace(FREE, quantise_after_days=10, keep_bytes=29 * GB)
    found = plan(week(30, packable=GB // 2), limits)
    assert found.drops == ()
    assert found.repacks[0] == Repack(before(30), "attack", "balanced")
    assert [one.day for one in found.repacks] == [before(age) for age in range(30, 9, -1)]
    tight = plan(week(30, packable=GB // 2), replace(limits, keep_bytes=20 * GB))
    assert dropped(tight) == [30, 29, 28, 27, 26, 25, 24]
    assert tight.repacks[0].day == before(23), "what is dropped is not made smaller before"


def test_without_room_for_both_forms_nothing_is_made_smaller() -> None:
    """It takes the new file beside the old one; where the disk is nearly full, days are dropped."""
    limits = replace(FREE, quantise_after_days=10, keep_bytes=29 * GB)
    found = plan(week(30, packable=GB // 2), limits, free=GB - 1)
    assert (found.repacks, dropped(found)) == ((), [30])


def test_whole_vectors_that_a_smaller_form_replaced_are_let_go() -> None:
    """A crash came between serving the smaller form and deleting the larger one: the same request does the rest."""
    days = week(12)
    days[0] = replace(days[0], leftover={"semantic": 100})
    found = plan(days, replace(FREE, quantise_after_days=10))
    assert found.repacks == (Repack(before(12), "semantic", "balanced"),)


@pytest.mark.parametrize(
    ("limits", "fits", "left"),
    [
        (FREE, None, None),
        (replace(FREE, keep_bytes=50 * GB), 50, 20.0),
        (replace(FREE, keep_bytes=50 * GB + GB // 2), 50, 20.5),
        (replace(FREE, keep_bytes=30 * GB), 30, 0.0),
        (replace(FREE, keep_bytes=50 * GB, keep_days=45), 50, None),
        (replace(FREE, keep_bytes=50 * GB, keep_days=60), 50, 20.0),
        (replace(FREE, keep_bytes=5000 * GB), 5000, None),
    ],
)
def test_how_long_the_room_lasts(limits: Limits, fits: int | None, left: float | None) -> None:
    """Thirty days of a GiB, one more a day: the budget is met after so many days, or never where age comes first."""
    found = plan(week(30), limits)
    assert (found.days_that_fit, found.days_left) == (fits, pytest.approx(left) if left else left)


def test_shrinking_makes_more_days_fit() -> None:
    """The last ten days whole, and those before at three quarters of their size."""
    limits = replace(FREE, keep_bytes=40 * GB, quantise_after_days=10)
    found = plan(week(30, packable=GB // 2), limits)
    assert found.days_that_fit == 10 + 40
    assert found.days_left is not None
    assert found.days_left > 10


def test_nothing_is_said_of_an_empty_directory() -> None:
    """No day was sealed yet, so nobody knows how large one is."""
    found = plan([], replace(FREE, keep_percent=80))
    assert found == Plan(budget_bytes=found.budget_bytes)


SIZES = st.integers(0, 5 * GB)
DAYS = st.dictionaries(
    st.integers(-3, 60),
    st.builds(
        StoredDay,
        day=st.just(""),
        bytes=SIZES,
        sealed=st.booleans(),
        held=st.booleans(),
        going=st.booleans(),
        packable=st.dictionaries(st.sampled_from(["attack", "semantic"]), st.integers(0, GB // 4)),
    ),
    max_size=40,
)
LIMITS = st.builds(
    Limits,
    keep_days=st.integers(0, 50),
    keep_least_days=st.integers(1, 20),
    keep_percent=st.floats(0, 100),
    keep_bytes=st.one_of(st.just(0), st.integers(1, 80 * GB)),
    quantise_after_days=st.integers(0, 40),
    quantise_to=st.sampled_from(["fast", "balanced", "maximum"]),
)


@settings(max_examples=300, deadline=None)
@given(aged=DAYS, limits=LIMITS, free=st.integers(0, 100 * GB))
def test_whatever_lies_there(aged: dict[int, StoredDay], limits: Limits, free: int) -> None:
    """No plan touches what has to stay, drops a day while an older one could go, or more than the limits ask for."""
    days = {before(age): replace(day, day=before(age)) for age, day in aged.items()}
    found = plan(list(days.values()), limits, free=free, total=200 * GB)
    assert found == plan(list(reversed(days.values())), limits, free=free, total=200 * GB)
    may_go = [
        name
        for name, one in sorted(days.items())
        if one.sealed and not one.held and not one.going and name <= before(limits.keep_least_days)
    ]
    names = [drop.day for drop in found.drops]
    assert names == may_go[: len(names)], "the oldest, without a hole"
    for pack in found.repacks:
        assert not days[pack.day].held
        assert pack.day not in names
        assert pack.day <= before(max(limits.quantise_after_days, 1))
    for_room = [drop for drop in found.drops if not drop.why.startswith("older")]
    if for_room:
        last = days[for_room[-1].day]
        is_old = limits.quantise_after_days > 0 and last.day <= before(limits.quantise_after_days)
        may_shrink = is_old and limits.quantise_to != "fast" and free > GB
        assert _left(days, found, last, may_shrink) > 0, "one less would not have been enough"
    rest = [name for name in may_go if name not in names]
    assert not rest or found.short_bytes == 0, "nothing stays over the budget that could go"


def _left(days: dict[str, StoredDay], found: Plan, stays: StoredDay, may_shrink: bool) -> float:  # noqa: FBT001 - a fact
    """What would be over the budget if one drop of a plan was left out, and that day made smaller where it may be."""
    assert found.budget_bytes is not None
    gone = {drop.day for drop in found.drops} - {stays.day}
    packed = [(days[pack.day], pack.index) for pack in found.repacks]
    packed += [(stays, index) for index in stays.packable if may_shrink]
    total = sum(one.bytes for name, one in days.items() if name not in gone and not one.going)
    saved = sum(one.packable[index] * (1 - SMALLER) for one, index in packed)
    return total - int(saved) + len(packed) - found.budget_bytes


def test_a_plan_is_followed_to_its_end() -> None:
    """Done again after each step it asks for less and less, and ends with the budget kept."""
    days = week(40, packable=GB // 3)
    limits = replace(FREE, keep_bytes=20 * GB, quantise_after_days=5)
    for _ in range(200):
        found = plan(days, limits)
        if not found.drops and not found.repacks:
            break
        days = _done(days, found.drops[0] if found.drops else found.repacks[0])
    assert found.short_bytes == 0
    assert sum(one.bytes for one in days) <= 20 * GB
    assert len(days) >= 20


def _done(days: list[StoredDay], what: Drop | Repack) -> list[StoredDay]:
    if isinstance(what, Drop):
        return [one for one in days if one.day != what.day]
    saves = GB // 3 // 2
    return [
        replace(one, bytes=one.bytes - saves, packable={}) if one.day == what.day else one for one in days
    ]
