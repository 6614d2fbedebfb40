"""Who reads a sealed folder holds it, for as long as a mapping is left, and nobody who deletes gets it before."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest

from services.common.days.checked import check_files
from services.common.days.leases import alone_with, hold_folder
from services.common.days.manifest import Manifest, digest_folder
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder of two files."""
    path = tmp_path / "000001"
    path.mkdir()
    (path / "a.bin").write_bytes(b"a" * 100)
    (path / "b.bin").write_bytes(b"")
    return path


def is_alone(folder: Path) -> bool:
    with alone_with(folder) as alone:
        return alone


def test_a_mapped_file_is_held_until_nothing_shows_it_any_more(folder: Path) -> None:
    """Closing the files is not the end of it: a slice of the mapping is enough."""
    manifest = Manifest("index", "2026-01-22", 1, 1, "now", digest_folder(folder))
    files = check_files(folder, manifest)
    part = files.raw("a.bin")[10:20]
    assert not is_alone(folder)
    assert not is_alone(folder.parent), "also where the folder above is asked about"
    files.close()
    assert not is_alone(folder)
    assert bytes(part) == b"a" * 10
    del part
    gc.collect()
    assert is_alone(folder)


def test_a_folder_is_held_by_several_and_free_after_the_last(folder: Path) -> None:
    """Each of them opens it anew."""
    handles = [hold_folder(folder), hold_folder(folder)]
    for handle in handles:
        assert not is_alone(folder)
        os.close(handle)
    assert is_alone(folder)


def test_who_is_alone_stays_so(folder: Path) -> None:
    """Neither the folder nor a file of it can be held until the block is left; a try leaves no lock behind."""
    manifest = Manifest("index", "2026-01-22", 1, 1, "now", digest_folder(folder))
    with alone_with(folder) as alone:
        assert alone
        with pytest.raises(AppiaError, match="being deleted"):
            hold_folder(folder)
        with pytest.raises(AppiaError, match="being deleted"):
            check_files(folder, manifest)
    check_files(folder, manifest).close()
    assert is_alone(folder)


def test_what_is_not_there_is_held_by_nobody(folder: Path) -> None:
    """A folder that went already can be finished with; holding it says that it is missing."""
    assert is_alone(folder / "gone")
    with pytest.raises(AppiaError, match="is missing"):
        hold_folder(folder / "gone")


def test_links_and_pipes_do_not_block(folder: Path) -> None:
    """Somebody put them there: they hold no bytes of the day."""
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("/etc/passwd")
    assert is_alone(folder)
