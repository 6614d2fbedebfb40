"""The rules of `Disk`, as the order of the calls that it makes: what is synced before which name counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.durable import Disk
from services.common.system_calls import SystemCalls

if TYPE_CHECKING:
    from pathlib import Path


class Told(SystemCalls):
    """The real calls, and what was called in which order."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._names: dict[int, str] = {}

    def _tell(self, call: str, path: Path | str) -> None:
        self.told.append(f"{call} {str(path).rpartition('/')[2]}")

    def open(self, path: Path | str, flags: int, mode: int = 0o640) -> int:
        fd = super().open(path, flags, mode)
        self._names[fd] = str(path)
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._tell("write", self._names[fd])
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        self._tell("sync", self._names[fd])
        super().sync(fd)

    def sync_data(self, fd: int) -> None:
        self._tell("sync", self._names[fd])
        super().sync_data(fd)

    def rename(self, old: Path | str, new: Path | str) -> None:
        self._tell("rename", new)
        super().rename(old, new)

    def unlink(self, path: Path | str) -> None:
        self._tell("unlink", path)
        super().unlink(path)

    def mkdir(self, path: Path | str, mode: int) -> None:
        self._tell("mkdir", path)
        super().mkdir(path, mode)


@pytest.fixture
def calls() -> Told:
    return Told()


@pytest.fixture
def top(tmp_path: Path) -> Path:
    folder = tmp_path / "top"
    folder.mkdir()
    return folder


def test_a_file_is_replaced_by_synced_content_and_its_name_is_synced(top: Path, calls: Told) -> None:
    """The content is on disk before the name leads to it, and the name before the call returns."""
    Disk(calls).write_file(top / "CURRENT", b"2\n")
    assert calls.told == ["write .CURRENT.staged", "sync .CURRENT.staged", "rename CURRENT", "sync top"]


def test_what_a_crash_left_of_a_replacing_goes(top: Path, calls: Told) -> None:
    """Whatever its mode is: it is deleted, not written on."""
    (top / ".CURRENT.staged").write_bytes(b"half of someth")
    Disk(calls).write_file(top / "CURRENT", b"2\n", 0o400)
    assert calls.told[0] == "unlink .CURRENT.staged"
    assert [path.name for path in top.iterdir()] == ["CURRENT"]
    assert (top / "CURRENT").stat().st_mode & 0o777 == 0o400


def test_a_folder_is_published_with_all_it_holds_on_disk(top: Path, calls: Told) -> None:
    """Files, then the folders that name them, then the rename, then the folder above."""
    disk = Disk(calls)
    disk.make_folder(top / "staging" / "inner")
    disk.put(top / "staging" / "inner" / "file", b"x")
    calls.told.clear()
    disk.publish(top / "staging", top / "000001")
    assert calls.told == ["sync file", "sync inner", "sync staging", "rename 000001", "sync top"]


def test_every_new_folder_is_synced_into_the_one_above(top: Path, calls: Told) -> None:
    """From the first that is there downwards."""
    Disk(calls).make_folder(top / "a" / "b")
    assert [told for told in calls.told if "mkdir" in told] == ["mkdir a", "mkdir b"]
    assert calls.told[-1] == "sync a"
    assert calls.told[calls.told.index("mkdir a") + 1] == "sync top"


def test_a_removed_folder_is_gone_for_good_before_its_files_go(top: Path, calls: Told) -> None:
    """The rename is on disk before anything is deleted, so that no part of it can come back."""
    disk = Disk(calls)
    disk.make_folder(top / "segment")
    disk.put(top / "segment" / "events.log", b"x")
    calls.told.clear()
    disk.remove(top / "segment")
    assert calls.told[:3] == ["rename .segment.going", "sync top", "unlink events.log"]
    assert list(top.iterdir()) == []
