"""When the chain is looked at, and that no look hides that there should have been one."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import structlog

from services.common.days.names import StateNames
from services.common.durable import Disk
from services.health.children import SILENT_S, Children, Task
from services.health.memory import Memory
from services.health.observation import Chain
from services.health.probes.chain import LEAST_S, MOST_FAILURES, NOT_CHECKED, ChainFiles, ChainLook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

S = 1_000_000_000
NOW = 1_800_000_000 * S
QUIET = structlog.wrap_logger(structlog.ReturnLogger(), processors=[lambda _l, _m, line: repr(line)])


class Asked:
    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def ask(self, task: Task) -> None:
        self.tasks.append(task)


class World:
    def __init__(self, root: Path) -> None:
        self.state, self.now, self.asked = StateNames(root), NOW, Asked()
        (root / "days" / "2026-11-19").mkdir(parents=True)
        self.state.links.parent.mkdir()
        self.state.links.write_bytes(b"{}\n")
        files = ChainFiles(self.state, None)
        self.look = ChainLook(files, self.asked, Memory(root, Disk()), lambda: self.now)  # type: ignore[arg-type]

    def after(self, seconds: float) -> int:
        self.now += int(seconds * S)
        self.look.look()
        return len(self.asked.tasks)


def test_a_day_that_goes_is_looked_at_soon(tmp_path: Path) -> None:
    """Not only once an hour: the folder of days is another."""
    world = World(tmp_path)
    assert [world.after(0), world.after(LEAST_S), world.after(60)] == [1, 1, 1]
    (tmp_path / "days" / "2026-11-19").rmdir()
    assert world.after(LEAST_S) == 2
    assert world.asked.tasks[-1].words[0] == str(tmp_path)


def test_a_check_that_never_ends_well_is_told(tmp_path: Path) -> None:
    """What was found before does not stand for ever; one that ends well is believed again."""
    world = World(tmp_path)
    world.after(0)
    world.asked.tasks[-1].line({"links": 3, "head": "a", "faults": []})
    world.asked.tasks[-1].ended(True)  # noqa: FBT003 - what it takes
    assert world.look.seen() == Chain(3, ())
    for number in range(MOST_FAILURES):
        assert world.look.seen() == Chain(3, ())
        assert world.after(3600) == number + 2
        world.asked.tasks[-1].ended(False)  # noqa: FBT003 - as above
    assert world.look.seen() == Chain(0, (NOT_CHECKED,))
    world.after(LEAST_S)
    world.asked.tasks[-1].line({"links": 3, "head": "a", "faults": []})
    assert world.look.seen() == Chain(3, ())


def noted(ended: list[str], name: str) -> Callable[[bool], None]:
    return lambda _well: ended.append(name)


def test_a_child_that_hangs_is_ended_and_holds_up_nobody(tmp_path: Path) -> None:
    """Something that is no file stood in its way; what waits has its turn."""
    pipe, clock, ended = tmp_path / "pipe", [0.0], list[str]()
    os.mkfifo(pipe)
    children = Children(QUIET, lambda: clock[0])
    (tmp_path / "VERSION").symlink_to(pipe)
    module = "services.common.days.check_process"
    for name in ("hangs", "waits"):
        words = (str(tmp_path),) if name == "hangs" else (str(tmp_path / "absent"),)
        children.ask(Task(name, module, words, lambda _said: None, noted(ended, name)))
    try:
        children.step()
        clock[0] = SILENT_S - 1
        time.sleep(1.0)
        children.step()
        assert ended == []
        clock[0] = SILENT_S + 1
        until = time.monotonic() + 20
        while len(ended) < 2 and time.monotonic() < until:
            children.step()
            time.sleep(0.05)
        assert ended == ["hangs", "waits"]
    finally:
        children.stop()
