"""A segment that goes after sealing goes as a whole for whoever follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.open_reader import OpenSegmentReader
from services.common.days.open_writer import VectorSpec, VectorWriter
from services.common.durable import Disk
from services.common.system_calls import SystemCalls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.days.names import StateNames

DAY = "2026-01-22"


@pytest.fixture
def folder(state: StateNames, disk: Disk) -> Path:
    """A segment with an index file."""
    names = state.day(DAY).segment(1)
    disk.make_folder(names.folder)
    VectorWriter(disk, names, VectorSpec("attack", "attack@0", 4, "l2")).close()
    return names.folder


def test_no_reader_sees_a_part_of_a_segment(state: StateNames, folder: Path) -> None:
    """While the files are being deleted, one by one, the segment is gone already under its name."""
    reader = OpenSegmentReader(DAY, state.day(DAY).segment(1))
    reader.view()
    seen: list[str] = []

    class Looking(SystemCalls):
        def unlink(self, path: Path | str) -> None:
            try:
                reader.view()
            except FileNotFoundError:
                seen.append("gone")
            else:
                seen.append("there")
            super().unlink(path)

    Disk(Looking()).remove(folder)
    reader.close()
    assert seen
    assert set(seen) == {"gone"}
    assert list(folder.parent.iterdir()) == []


def test_what_a_crash_left_of_a_removal_is_cleared(
    start: Callable[[], Any], folder: Path, make_event: Callable[..., bytes]
) -> None:
    """Killed between the rename and the end of the deletion: the next start of the ingester finishes it."""
    start().add([make_event()])
    left = folder.with_name(".000009.going")
    folder.rename(left)
    again = start()
    assert again.recovered == []
    assert not left.exists()


def test_a_removal_is_finished_even_where_a_crash_left_one_of_the_same_name(folder: Path, disk: Disk) -> None:
    going = folder.with_name(f".{folder.name}.going")
    going.mkdir()
    (going / "left").write_bytes(b"")
    disk.remove(folder)
    assert list(folder.parent.iterdir()) == []
