"""What the days take is looked at now and then, at once where something changed, and never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.config.tree import HealthLive
from services.common.days.holds import Book, Dropped, Going, make_hold, to_bytes
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.health.memory import KnownClock
from services.health.observation import Attempt, Intake, Observation, Retention
from services.health.observation import Disk as SeenDisk
from services.health.probes.clock import is_believed
from services.health.probes.retention import RetentionLook, stored_days
from services.health.reconciler import Desired, reconcile
from services.health.retention import Drop, Plan, Repack

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_795_132_800_000_000_000  # 2026-11-20T00:00:00Z
SECOND = 1_000_000_000


@pytest.fixture
def names(tmp_path: Path) -> StateNames:
    """A state directory with two days that claim to be sealed and cannot be read, and one that is open."""
    found = StateNames(tmp_path / "state")
    claim_layout(found, Disk())
    for day in ("2026-01-01", "2026-01-02"):
        found.day(day).sealed_folder.mkdir(parents=True)
        found.day(day).current.write_text("000001\n")
    found.day("2026-11-20").segment(1).folder.mkdir(parents=True)
    (found.day("2026-11-20").segment(1).folder / "events-000001.log").write_bytes(b"x" * 1000)
    return found


def put(names: StateNames, book: Book) -> None:
    Disk().write_file(names.retention, to_bytes(book))


def test_a_day_that_cannot_be_read_is_never_touched(names: StateNames) -> None:
    """Its bytes count, and it counts as not sealed; what is held and going is told."""
    hold = make_hold("2026-01-01", "smith", "ana", "", "now")
    found = stored_days(names, Book(holds=(hold,), going=(Going("2026-01-02"),)))
    assert [(one.day, one.sealed, one.held, one.going) for one in found] == [
        ("2026-01-01", False, True, False),
        ("2026-01-02", False, False, True),
        ("2026-11-20", False, False, False),
    ]
    assert found[2].bytes == 1000
    look = RetentionLook(names).look(HealthLive(retention_enabled=True, keep_days=1, keep_bytes=1), NOW)
    assert look is not None
    assert (look.drops, look.repacks) == ((), ())


def test_a_damaged_book_makes_it_unknown(names: StateNames) -> None:
    """Unknown is not nothing: an alert that began goes on."""
    names.retention.write_bytes(b"{}")
    assert RetentionLook(names).look(HealthLive(), NOW) is None


def test_it_is_looked_again_when_the_limits_or_the_book_are_others(names: StateNames) -> None:
    """Otherwise only after `check_every_s`, also where the clock was set back."""
    look, looks = RetentionLook(names), []
    plan = look._plan
    look._plan = lambda *words: looks.append(words) or plan(*words)  # type: ignore[method-assign, func-returns-value]
    live = HealthLive(check_every_s=300.0)
    for after_s in (0, 10, 299, 300):
        look.look(live, NOW + after_s * SECOND)
    assert len(looks) == 2
    look.look(HealthLive(check_every_s=300.0, keep_days=3), NOW + 301 * SECOND)
    put(names, Book(holds=(make_hold("2026-01-01", "smith", "ana", "", "now"),)))
    look.look(HealthLive(check_every_s=300.0, keep_days=3), NOW + 302 * SECOND)
    look.look(HealthLive(check_every_s=300.0, keep_days=3), NOW + 200 * SECOND)
    assert len(looks) == 5


def test_what_is_to_be_done_is_looked_at_again_when_something_was_done(
    names: StateNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in each round: a year of days takes a while to look at, and shrinking them takes days."""
    plans: list[int] = []

    def plan(*_: object) -> Plan:
        plans.append(1)
        return Plan(drops=DROPS, repacks=(REPACK,))

    monkeypatch.setattr("services.health.probes.retention.plan_retention", plan)
    look, live = RetentionLook(names), HealthLive(retention_enabled=True)
    for after_s, work in ((0, "nothing"), (10, "nothing"), (20, "a drop"), (30, "a drop"), (40, "nothing")):
        found = look.look(live, NOW + after_s * SECOND, work)
        assert found is not None
        assert found.drops == DROPS
    assert len(plans) == 3
    doubted = look.look(live, NOW + 50 * SECOND, "nothing", may_drop=False)
    assert doubted is not None
    assert (doubted.drops, doubted.repacks) == ((), (REPACK,))


def test_after_a_step_of_the_clock_no_day_goes_for_a_day() -> None:
    """Steps of hours back and of minutes are none; a clock that is put right is believed at once."""
    hour, known = 3600 * SECOND, KnownClock()
    assert is_believed(known, NOW)
    assert is_believed(known, NOW + hour)
    ahead = NOW + 400 * 24 * hour
    assert not is_believed(known, ahead)
    assert not is_believed(known, ahead + hour)
    assert is_believed(known, NOW + 3 * hour)
    assert not is_believed(known, ahead)
    for passed in range(1, 24):
        assert not is_believed(known, ahead + passed * hour)
    assert is_believed(known, ahead + 24 * hour)


def test_where_days_go_for_room_by_design_nobody_is_warned(names: StateNames) -> None:
    """Once the first has gone; with a promise of days, or where nothing goes by itself, the warning stays."""
    put(names, Book(dropped=(Dropped("2025-01-01", "now", 1, 1),)))
    look = RetentionLook(names)
    limits = {"keep_bytes": 1}
    usual = look.look(HealthLive(retention_enabled=True, **limits), NOW)
    assert usual is not None
    assert usual.days_left is None


DROPS = (Drop("2026-01-01", "older than 90 days"), Drop("2026-01-02", "older than 90 days"))
REPACK = Repack("2026-10-01", "attack", "balanced")


def seen(*attempts: Attempt, used: float = 50.0, paused: bool = False, intake: bool = True) -> Observation:
    return Observation(
        time_ns=NOW,
        disks=(SeenDisk("/", 100, 50, used, 1.0),),
        intake=Intake("then", 1, paused=paused) if intake else None,
        attempts=attempts,
        retention=Retention(None, None, DROPS, (REPACK,)),
    )


def test_the_oldest_day_goes_first_also_where_the_disk_is_full() -> None:
    """That is when it helps; without an ingester nobody could do it."""
    assert reconcile(Desired(), seen()) == (DROPS[0],)
    assert reconcile(Desired(), seen(used=99.0, paused=True)) == (DROPS[0],)
    assert reconcile(Desired(), seen(intake=False)) == ()


def test_what_failed_waits_and_the_next_has_its_turn() -> None:
    """A day that is held meanwhile does not stop the others; nothing is begun while something runs."""
    failed = [
        Attempt("drop", one.subject, one.seen, 1, NOW - SECOND, error="is held", ended_ns=NOW)
        for one in DROPS
    ]
    assert reconcile(Desired(), seen(failed[0])) == (DROPS[1],)
    assert reconcile(Desired(), seen(*failed)) == (REPACK,)
    assert reconcile(Desired(), seen(*failed, used=95.0)) == (), "shrinking needs room"
    running = Attempt("drop", DROPS[0].subject, DROPS[0].seen, 1, NOW, job="drop-1")
    assert reconcile(Desired(), seen(running)) == ()
