"""Every story is counted and its alerts are heard, also one that broke off; what cannot be told is a fault."""

from __future__ import annotations

import io
import json
from subprocess import TimeoutExpired
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fleet.ending import end
from fleet.story import Check, Step, Story

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUMMARY = {"acknowledged": 2, "sent": 2, "refused": 0}


class Sensor:
    """Saw two events, and sent them."""

    name, seen = "sensor-a", 2

    def finish(self) -> dict[str, int]:
        return SUMMARY

    def events(self) -> set[str]:
        return {"e2", "e3"}


class Fleet:
    """Answers as a fleet does, and notes what was asked of it."""

    def __init__(self, *, fed: bool = True, answers: bool = True) -> None:
        self.plans = {"a": SimpleNamespace(sensors=("sensor-a",))}
        self.fed, self.sensors = {"a": {"e1"}}, {"sensor-a": Sensor()} if fed else {}
        self.asked, self._answers = list[str](), answers
        self.machines = SimpleNamespace(restore=lambda: self.asked.append("restore"))

    def wait_for_all(self, _site: str, _events: int) -> dict[str, list[str]]:
        return {"rag-1-a1": ["e1", "e2", "e3"]}

    def stop_analyst(self) -> None:
        self.asked.append("stop")

    def alerts(self, _site: str) -> Any:
        return {"recent": []} if self._answers else json.loads("")

    def keep_journals(self, folder: Path) -> None:
        assert folder.is_dir()
        folder.rmdir()
        self.asked.append("journals")


def well() -> Iterator[Check]:
    yield Check("it works", held=True)


def broken() -> Iterator[Check]:
    yield Check("it works", held=True)
    raise AppiaError("gone")


def told(fleet: Any, *steps: Any) -> tuple[Story, Any]:
    story = Story(io.StringIO())
    story.tell([Step(str(number), do) for number, do in enumerate(steps)])
    return story, end(fleet, story)


def test_a_story_that_broke_off_is_healed_counted_and_heard() -> None:
    fleet = Fleet()
    story, found = told(fleet, broken, well)
    assert [done.step.name for done in story.done] == [
        "0",
        "Heal",
        "Count",
        "Hear the alerts",
        "Keep the journals",
    ]
    assert [done.held for done in story.done] == [False, True, True, True, True]
    assert [(one.replica, one.held, one.lost) for one in found.holdings] == [("rag-1-a1", 3, 0)]
    assert found.alerts == {"a": {"recent": []}}
    assert fleet.asked == ["restore", "stop", "journals"]


def test_a_story_that_held_is_only_counted_and_heard() -> None:
    fleet = Fleet()
    story, _ = told(fleet, well)
    assert [done.step.name for done in story.done] == ["0", "Count", "Hear the alerts"]
    assert fleet.asked == ["stop"]


def test_alerts_are_heard_where_nothing_can_be_counted() -> None:
    story, found = told(Fleet(fed=False), broken)
    count = next(done for done in story.done if done.step.name == "Count")
    assert [check.seen for check in count.checks] == [
        "AppiaError: No event was sent: the story ended before that."
    ]
    assert found.holdings == []
    assert found.alerts == {"a": {"recent": []}}


def test_a_health_that_says_nothing_is_a_fault() -> None:
    story, found = told(Fleet(answers=False), well)
    heard = next(done for done in story.done if done.step.name == "Hear the alerts")
    assert [check.what for check in heard.checks] == ["health of site a tells its alerts"]
    assert not heard.held
    assert found.alerts == {}
    assert len(found.holdings) == 1


@pytest.mark.parametrize("error", [AppiaError("gone"), TimeoutExpired("ssh", 120.0), KeyError("a")], ids=repr)
def test_a_site_that_says_nothing_keeps_no_other_from_being_heard(error: Exception) -> None:
    class Parted(Fleet):
        def alerts(self, site: str) -> Any:
            if site == "a":
                raise error
            return super().alerts(site)

    fleet = Parted(fed=False)
    fleet.plans["b"] = fleet.plans["a"]
    story, found = told(fleet, well)
    heard = next(done for done in story.done if done.step.name == "Hear the alerts")
    assert [check.what for check in heard.checks] == ["health of site a tells its alerts"]
    assert found.alerts == {"b": {"recent": []}}
