"""What alerts remember is changed whole or not at all, and a full disk does not silence them."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

import pytest

from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.system_calls import SystemCalls
from services.health.alerts.ledger import Ledger
from services.health.alerts.state import Alert, Kept

if TYPE_CHECKING:
    from pathlib import Path

ALERT = Alert(
    rule="disk",
    signal="disk_used_percent",
    subject="/data",
    severity="warning",
    since_ns=1,
    value=float("inf"),
    limit="above 85",
    text="full",
)


class Killed(BaseException):
    """The process ends here."""


class StepCalls(SystemCalls):
    """Ends the process, or fails, at the n-th call that changes something."""

    def __init__(self, at: int, fault: BaseException) -> None:
        self.left, self.fault, self.writes = at, fault, 0

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise self.fault

    def open(self, path: Path | str, flags: int, mode: int = 0o640) -> int:
        self._count()
        return super().open(path, flags, mode)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._count()
        self.writes += 1
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        self._count()
        super().sync(fd)

    def rename(self, old: Path | str, new: Path | str) -> None:
        self._count()
        super().rename(old, new)


def firing(kept: Kept) -> Kept:
    return kept.model_copy(update={"alerts": (ALERT,), "number": kept.number + 1})


def ledger(path: Path, disk: Disk | None = None, said: list[str] | None = None) -> Ledger:
    return Ledger(disk or Disk(), path, lambda: "abc", (said if said is not None else []).append)


def test_what_was_changed_is_there_after_a_restart(tmp_path: Path) -> None:
    """With numbers that have no end; nobody else may read it."""
    path = tmp_path / "alerts.json"
    kept = ledger(path).change(firing)
    assert ledger(path).kept == kept
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("at", range(8))
def test_a_kill_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, at: int) -> None:
    """Never a part."""
    path = tmp_path / "alerts.json"
    before = ledger(path).change(lambda kept: kept.model_copy(update={"number": 7}))
    dying = ledger(path, Disk(StepCalls(at, Killed())))
    try:
        after = dying.change(firing)
    except Killed:
        after = firing(before)
    assert ledger(path).kept in (before, after)


def test_values_alone_are_not_written(tmp_path: Path) -> None:
    """A disk is not worn out by numbers that are as new as the next reading."""
    calls = StepCalls(10**9, Killed())
    book = ledger(tmp_path / "alerts.json", Disk(calls))
    book.change(firing)
    written = calls.writes

    def other(kept: Kept) -> Kept:
        return kept.model_copy(
            update={"alerts": (ALERT.model_copy(update={"value": 86.0, "text": "other"}),)}
        )

    assert book.change(other).alerts[0].value == 86
    assert calls.writes == written


def test_a_full_disk_silences_nobody(tmp_path: Path) -> None:
    """All goes on in memory, it is said once, and the next change that can be written has all of it."""
    calls, said = StepCalls(0, OSError(errno.ENOSPC, "No space left on device")), []
    book = ledger(tmp_path / "alerts.json", Disk(calls), said)
    book.change(firing)
    book.change(firing)
    assert book.kept.number == 2
    assert len(said) == 1
    assert "No space left on device" in book.fault
    calls.left = 10**9
    book.change(lambda kept: kept)
    assert book.fault == ""
    assert ledger(tmp_path / "alerts.json").kept.number == 2


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"version": 1}', b'{"version": 1, "origin": "a", "more": 1}', b"\xff"]
)
def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path, content: bytes) -> None:
    """Health starts all the same."""
    path, said = tmp_path / "alerts.json", list[str]()
    path.write_bytes(content)
    assert ledger(path, said=said).kept == Kept(origin="abc")
    assert (tmp_path / "alerts.damaged").read_bytes() == content
    assert "was damaged and is alerts.damaged now" in said[0]


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """It is not thrown away."""
    path = tmp_path / "alerts.json"
    path.write_bytes(b'{"version": 2, "origin": "a"}')
    with pytest.raises(AppiaError, match="written by a later version of appia"):
        ledger(path)
    assert path.exists()
