"""A story tells every step, what did not hold, and which alerts belong to which step."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from fleet.figures import Holding
from fleet.playbooks import Played
from fleet.report import Found, write
from fleet.story import Alert, Check, Done, Raised, Step, Story, alert_checks, raised

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterator

DOWN = Alert("a", "service-down", "rag/rag-2-*")
FIRED = {"since_ns": 15_000_000_000, "fired_ns": 16_000_000_000}
DOWN_SINCE_FIRST = {
    "rule": "service-down",
    "subject": "rag/rag-2-a1",
    "since_ns": 2_000_000_000,
    "fired_ns": 7_000_000_000,
}
PLAYED = Played("site.yml", 3.0, 0, {"one": {"changed": 2}}, "")


def well() -> Iterator[Check]:
    yield Check("it works", held=True, seen="at once")


def broken() -> Iterator[Check]:
    yield Check("it works | now", held=False, seen="3 failed")
    raise AppiaError("gone")


def at_fault() -> Iterator[Check]:
    yield Check("it counts", held=True)
    raise KeyError("sensor-a")


def steps() -> list[Done]:
    return [Done(Step("first", well), 0.0, 10.0), Done(Step("second", well, (DOWN,)), 10.0, 20.0)]


def test_a_step_that_breaks_off_ends_the_story_and_is_told() -> None:
    out = io.StringIO()
    story = Story(out)
    assert not story.tell([Step("one", well), Step("two", broken), Step("three", well)])
    assert [done.step.name for done in story.done] == ["one", "two"]
    assert [check.held for check in story.done[1].checks] == [False, False]
    assert "AppiaError: gone" in out.getvalue()
    assert story.done[0].held
    assert not story.done[1].held
    assert story.done[1].end >= story.done[1].begin > 0


def test_an_alert_belongs_to_the_step_in_which_it_began() -> None:
    told = {"a": {"firing": [{"rule": "service-down", "subject": "rag/rag-2-a1", **FIRED}]}}
    found = raised(steps(), told)
    assert [(one.step, one.alert.subject) for one in found] == [("second", "rag/rag-2-a1")]
    assert [check.held for _, check in alert_checks(steps(), found)] == [True]


def test_what_was_over_before_it_had_lasted_is_no_alert() -> None:
    told = {
        "a": {"recent": [{"rule": "service-down", "subject": "x", "since_ns": 15_000_000_000, "fired_ns": 0}]}
    }
    assert raised(steps(), told) == []


def test_an_alert_that_is_missing_and_one_that_nobody_expects_are_faults() -> None:
    told = {"a": {"recent": [{"rule": "disk-full", "subject": "/", **FIRED}]}}
    checks = [check for _, check in alert_checks(steps(), raised(steps(), told))]
    assert [(check.what, check.held) for check in checks] == [
        ("alert service-down about rag/rag-2-* at site a", False),
        ("no alert disk-full about / at site a", False),
    ]


def test_an_alert_that_still_fires_from_the_step_before_is_told_in_this_one_too() -> None:
    told = {"a": {"recent": [{**DOWN_SINCE_FIRST, "over_ns": 12_000_000_000}]}}
    found = raised(steps(), told)
    assert [one.step for one in found] == ["first"]
    of_second = [check for step, check in alert_checks(steps(), found) if step == "second"]
    assert [(check.what, check.held) for check in of_second] == [
        ("alert service-down about rag/rag-2-* at site a", True)
    ]


def test_an_alert_that_ended_before_the_step_is_not_told_in_it() -> None:
    told = {"a": {"recent": [{**DOWN_SINCE_FIRST, "over_ns": 9_000_000_000}]}}
    checks = [check for step, check in alert_checks(steps(), raised(steps(), told)) if step == "second"]
    assert [check.held for check in checks] == [False]


def test_what_is_done_at_any_end_is_done_after_what_broke_off() -> None:
    story = Story(io.StringIO())
    assert not story.tell([Step("one", broken), Step("two", well)])
    story.tell_all([Step("count", at_fault), Step("alerts", well)])
    assert [done.step.name for done in story.done] == ["one", "count", "alerts"]
    assert [done.held for done in story.done] == [False, False, True]
    assert story.done[1].checks[-1].seen == "KeyError: 'sensor-a'"


def test_an_alert_that_may_be_is_no_fault() -> None:
    step = Step("only", well, allowed=(Alert("*", "service-*"),))
    found = [Raised(Alert("b", "service-not-ready", "rag/x"), 1.0, "only", 1.0)]
    assert alert_checks([Done(step, 0.0, 2.0)], found) == []


def found(*holdings: Holding, done: list[Done] | None = None) -> Found:
    return Found("make fleet", done or [], [], holdings, [PLAYED], [], [], ["It is one machine."])


def test_a_report_of_what_held_says_so_and_counts() -> None:
    right = found(Holding("a", "rag-1-a1", 10, 10, 0, 0, 0))
    assert right.failed == []
    text = write(right)
    assert "**Everything held.**" in text
    assert "| a | rag-1-a1 | 10 | 10 | 0 | 0 | 0 |" in text
    assert "| site.yml | 1 | 3 s | 2 | none |" in text


def test_a_report_names_everything_that_did_not_hold() -> None:
    story = Story(io.StringIO())
    story.tell([Step("two", broken)])
    lacking = found(Holding("a", "rag-1-a1", 10, 9, 1, 0, 0), done=story.done)
    assert len(lacking.failed) == 3
    text = write(lacking)
    assert "**3 things did not hold:**" in text
    assert "- two: it works | now: 3 failed" in text
    assert "1 lost" in text
