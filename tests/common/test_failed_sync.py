"""After a failed sync nothing is built on what the disk has lost, although it could still be read."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path

import pytest

from services.common.days.columns import AddressTable, TextTable, unpack_texts
from services.common.durable import Disk, SyncFailed
from services.common.system_calls import SystemCalls


class LosingCalls(SystemCalls):
    """A sync that fails loses what was written since the one before, and the file goes on showing it."""

    def __init__(self) -> None:
        self.fails = False
        self.lost: list[tuple[int, int]] = []
        self._synced: dict[str, int] = {}

    def sync_data(self, fd: int) -> None:
        path, size = str(Path(f"/proc/self/fd/{fd}").readlink()), os.fstat(fd).st_size
        if self.fails:
            self.lost.append((self._synced.get(path, 0), size))
            raise OSError(errno.EIO, "Input/output error")
        super().sync_data(fd)
        self._synced[path] = size


@pytest.fixture
def calls() -> LosingCalls:
    return LosingCalls()


def test_a_growing_file_is_cut_back_to_what_is_on_disk(tmp_path: Path, calls: LosingCalls) -> None:
    """Also where it was cut in between; the error says that a sync failed, and with what."""
    file = Disk(calls).append_to(tmp_path / "a")
    with closing(file):
        file.write(b"kept, and more")
        file.sync()
        file.truncate(4)
        file.write(b" lost")
        calls.fails = True
        with pytest.raises(SyncFailed, match="Input/output error") as raised:
            file.sync()
        assert raised.value.errno == errno.EIO
    assert (tmp_path / "a").read_bytes() == b"kept"


def test_tables_write_again_what_a_failed_sync_lost(tmp_path: Path, calls: LosingCalls) -> None:
    """An index that fails opens its tables anew: a text or an address that only memory holds must not be known then."""
    disk = Disk(calls)
    for round_of in range(2):
        calls.fails = round_of == 0
        with closing(TextTable(disk, tmp_path / "texts")) as texts:
            texts.codes(["a", "b"])
            with closing(AddressTable(disk, tmp_path / "addresses")) as addresses:
                addresses.codes(["10.0.0.1"])
                for table in (texts, addresses):
                    if calls.fails:
                        with pytest.raises(SyncFailed):
                            table.sync()
                    else:
                        table.sync()
        whole = (tmp_path / "texts").read_bytes(), (tmp_path / "addresses").stat().st_size
        assert (unpack_texts(whole[0])[0], whole[1]) == (([], 0) if calls.fails else (["a", "b"], 16))
    assert len(calls.lost) == 2
