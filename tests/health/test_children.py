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


def until_it_ended(children: Children) -> None:
    until = time.monotonic() + 30
    while children.names:
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
    until_it_ended(children)
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
    beats = (
        "import time\nfor n in range(400):\n    print('{\"n\": %d}' % n, flush=True)\n    time.sleep(0.005)\n"
    )
    said: list[str] = []

    def line(name: str) -> Callable[[Any], None]:
        return lambda _said: said.append(name)

    children.ask(Task("slow", program("slow", beats), (), line("slow"), lambda _: None, patient=True))
    until = time.monotonic() + 30
    while not said:
        assert time.monotonic() < until
        children.step()
        time.sleep(0.01)
    children.ask(
        Task("quick", program("quick", "print('{}')"), (), line("quick"), lambda _: said.append("end"))
    )
    while "end" not in said:
        assert time.monotonic() < until
        children.step()
        time.sleep(0.01)
    between = len([name for name in said if name == "slow"])
    until_it_ended(children)
    assert between < 400
    assert said.count("slow") == 400
