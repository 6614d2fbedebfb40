"""What a failing disk may take, one promise at a time, and then every operation."""

from __future__ import annotations

import errno
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from torture import io_errors
from torture.calls import FailingCalls, RecordingCalls, Tape
from torture.in_ci import hold
from torture.replay import Volume

from services.common.days.log import LogReader, LogWriter
from services.common.days.log_format import EVENT
from services.common.durable import Disk

if TYPE_CHECKING:
    from pathlib import Path


class SyncFails(RecordingCalls):
    """Syncs of data fail while `broken` is set."""

    broken = False

    def sync_data(self, fd: int) -> None:
        if self.broken:
            raise OSError(errno.EIO, "the disk is broken")
        super().sync_data(fd)


def test_what_could_not_be_synced_is_not_read_by_the_next_start(tmp_path: Path) -> None:
    """After a failed sync the system calls the pages clean: the next start would take them for what is on disk."""
    calls = SyncFails(Tape(tmp_path))
    log = LogWriter(Disk(calls), tmp_path / "a.log")
    log.append(EVENT, 0, [b"kept"])
    log.sync()
    log.append(EVENT, 1, [b"lost"])
    calls.broken = True
    with pytest.raises(OSError, match="broken"):
        log.sync()
    calls.broken = False
    log.close()
    with closing(LogReader(tmp_path / "a.log")) as reader:
        assert [getattr(record, "payload", None) for record in reader.scan()] == [b"kept"]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_the_disk_fails_where_it_is_told_to(tmp_path: Path, error: int) -> None:
    """A full disk takes a part of a write first; what a failed sync lost is cut off, so that nobody reads it."""
    tape = Tape(tmp_path)
    calls = FailingCalls(tape, 4, error)
    file = Disk(calls).append_to(tmp_path / "a")  # opens it, and its folder to sync it: operations 0 to 2
    file.write(b"abcd")
    with pytest.raises(OSError, match=r".") as raised:
        file.write(b"efgh") if error == errno.ENOSPC else file.sync()
    assert raised.value.errno == error
    file.sync()
    volume = Volume()
    volume.follow(tape.operations)
    assert volume.now().files["a"][0] == (b"abcdef" if error == errno.ENOSPC else b"")
    assert volume.promised().files["a"][0] == (b"abcdef" if error == errno.ENOSPC else b"")


def test_a_failing_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    outcome = hold(io_errors.SUITE, tmp_path)
    operations = [outcome.facts[f"operations of {act.__name__}"] for act in io_errors.CHAPTERS[:-1]]
    assert sum(operations) <= outcome.rounds, "every operation of these chapters was to fail once"
    assert outcome.facts["processes ended"]
