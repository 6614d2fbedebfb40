"""Children of health: one at a time, what they print is heard, and why one failed is in the log."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from services.health.children import Children, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def logged() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def children(logged: list[dict[str, Any]]) -> Iterator[Children]:
    def note(_logger: object, _method: str, line: Any) -> str:
        logged.append(dict(line))
        return ""

    started = Children(structlog.wrap_logger(structlog.ReturnLogger(), processors=[note]))
    yield started
    started.stop()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Writes a module that a child can run; gives its name."""
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *sys.path]))

    def write(name: str, source: str) -> str:
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def step_until(children: Children, true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        children.step()
        time.sleep(0.01)


def test_what_a_child_prints_is_heard_and_why_it_failed_is_logged(
    children: Children, program: Callable[[str, str], str], logged: list[dict[str, Any]]
) -> None:
    """Lines that are no JSON objects are left out."""
    source = 'import sys\nprint(\'{"a": 1}\\nnoise\\n7\\n{"error": "no such disk"}\')\nsys.exit(1)\n'
    heard: list[Any] = []
    ends: list[bool] = []
    children.ask(Task("look", program("fails", source), (), heard.append, ends.append))
    step_until(children, lambda: not children.names)
    assert (heard, ends) == ([{"a": 1}, {"error": "no such disk"}], [False])
    assert [(one["event"], one["task"]) for one in logged] == [
        ("child_said", "look"),
        ("child_failed", "look"),
    ]
    assert logged[0]["error"] == "no such disk"


def test_a_patient_child_stands_still_while_another_has_its_turn(
    children: Children, program: Callable[[str, str], str]
) -> None:
    """It says nothing meanwhile, and goes on to its end afterwards."""
    beats = "import time\nfor n in range(200):\n    print('{}', flush=True)\n    time.sleep(0.005)\n"
    rests = "import time\ntime.sleep(0.3)\nprint('{}')\n"
    said: list[str] = []

    def task(name: str, source: str) -> Task:
        def line(_said: object) -> None:
            said.append(name)

        return Task(
            name, program(name, source), (), line, lambda _: said.append("end"), patient=name == "slow"
        )

    children.ask(task("slow", beats))
    assert (children.names, children.awaited) == ({"slow"}, set())
    step_until(children, lambda: "slow" in said)
    children.ask(task("quick", rests))
    assert (children.names, children.awaited) == ({"slow", "quick"}, {"quick"})
    for _ in range(2):  # what it printed before it was stopped is heard yet
        children.step()
        time.sleep(0.05)
    before = len(said)
    step_until(children, lambda: "end" in said)
    assert said[before:] == ["quick", "end"]
    step_until(children, lambda: not children.names)
    assert (said.count("slow"), said[-1]) == (200, "end")
