"""A tail gives every record once, and what could not be read for a moment when it can."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from services.common.days import log_tail
from services.common.days.log import LogReader, LogWriter
from services.common.days.log_files import LogFiles
from services.common.days.log_format import FEEDBACK
from services.common.days.log_tail import LogTail

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from services.common.durable import Disk


def write(files: LogFiles, disk: Disk, number: int, payloads: list[bytes]) -> None:
    disk.make_folder(files.folder)
    log = LogWriter(disk, files.path(number))
    log.append(FEEDBACK, 10 * number, payloads)
    log.close()


def read(tail: LogTail) -> list[tuple[int, bytes]]:
    return [(number, record.payload) for number, record in tail.read()]


def test_what_could_not_be_opened_for_a_moment_is_read_later(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has no handle left loses no record and no order, and says so while it lasts."""
    files = LogFiles(tmp_path, "said")
    write(files, disk, 1, [b"a", b"b"])
    write(files, disk, 2, [b"c"])
    tail = LogTail(files, "things")
    with monkeypatch.context() as patch:

        def none_left(path: Path, *_: object) -> LogReader:
            if path.name == "said-000001.log":
                raise OSError(errno.EMFILE, "Too many open files")
            return LogReader(path)

        patch.setattr(log_tail, "LogReader", none_left)
        assert read(tail) == []
        assert tail.faults == ("said-000001.log cannot be read just now (Too many open files)",)
        assert read(tail) == []
    assert (read(tail), tail.faults) == ([(1, b"a"), (1, b"b"), (2, b"c")], ())
    assert read(tail) == []


def test_a_file_that_cannot_be_read_hides_no_other(tmp_path: Path, disk: Disk) -> None:
    """It is named once, and not opened again."""
    files = LogFiles(tmp_path, "said")
    write(files, disk, 2, [b"b"])
    files.path(1).write_bytes(b"x" * 100)
    tail = LogTail(files, "things")
    assert (read(tail), len(tail.faults)) == ([(2, b"b")], 1)
    write(files, disk, 3, [b"c"])
    assert (read(tail), len(tail.faults)) == ([(3, b"c")], 1)


def test_files_that_are_removed_are_forgotten(tmp_path: Path, disk: Disk) -> None:
    """What was read of them was given; a file that is gone is no fault."""
    files = LogFiles(tmp_path, "said")
    write(files, disk, 1, [b"a"])
    tail = LogTail(files, "things")
    assert read(tail) == [(1, b"a")]
    write(files, disk, 2, [b"b"])
    files.path(1).unlink()
    assert (read(tail), tail.numbers, tail.faults) == ([(2, b"b")], (2,), ())
