"""Where a crash came while the start of a log was written, the file never held a record; else it is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.days.log import LogWriter
from services.common.days.log_format import EVENT, was_begun
from services.common.durable import Disk
from services.common.rest.log_keys import BLOCK_BYTES, WrappingKey

if TYPE_CHECKING:
    from pathlib import Path

HEADER = 32


class Keys:
    """One key for all files."""

    allows_plain = True

    def for_new_files(self) -> WrappingKey:
        return WrappingKey(bytes(32))

    def find(self, _key_id: int, _path: Path) -> WrappingKey:
        return self.for_new_files()


@pytest.mark.parametrize("left", range(HEADER + BLOCK_BYTES))
def test_an_encrypted_file_without_its_whole_start_was_never_begun(tmp_path: Path, left: int) -> None:
    LogWriter(Disk(), tmp_path / "a.log", Keys()).close()
    raw = (tmp_path / "a.log").read_bytes()
    assert len(raw) == HEADER + BLOCK_BYTES
    (tmp_path / "a.log").write_bytes(raw[:left])
    assert not was_begun(tmp_path / "a.log")


def test_a_file_that_goes_on_behind_a_damaged_start_is_damaged(tmp_path: Path) -> None:
    log = LogWriter(Disk(), tmp_path / "a.log", Keys())
    log.append(EVENT, 0, [b"x" * 100])
    log.close()
    raw = (tmp_path / "a.log").read_bytes()
    assert was_begun(tmp_path / "a.log")
    for at in (3, HEADER + 3):
        (tmp_path / "a.log").write_bytes(raw[:at] + b"?" + raw[at + 1 :])
        assert was_begun(tmp_path / "a.log")
