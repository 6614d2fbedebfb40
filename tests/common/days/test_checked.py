"""What was hashed is what is used, and what is no file of a sealed folder is never read."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.common.days.checked import check_files, damage_in
from services.common.days.chunk import IDENTITIES, open_chunk
from services.common.days.manifest import MANIFEST, Artifact, Manifest, digest_folder, read_manifest
from services.common.errors import AppiaError

OLD = Path(__file__).parents[2] / "data" / "formats" / "days-without-tags"


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files, and a manifest of them."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "a.bin").write_bytes(np.arange(6, dtype="<u4").tobytes())
    (made / "empty.bin").write_bytes(b"")
    manifest = Manifest("index", "2026-01-22", 1, 0, "", digest_folder(made))
    (made / MANIFEST).write_bytes(manifest.to_json())
    return made


def test_a_file_that_takes_the_place_of_a_checked_one_is_not_read(folder: Path) -> None:
    """Between the check and the mapping another file gets the name: the one that was checked is mapped."""
    with check_files(folder, read_manifest(folder)) as files:
        (folder / "other").write_bytes(bytes(24))
        (folder / "other").replace(folder / "a.bin")
        mapped = files.mapped("a.bin", "<u4", (2, 3))
    assert mapped.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert not mapped.flags.writeable


def test_a_mapping_outlives_the_open_files(folder: Path) -> None:
    """Nothing stays open but the mapping, and that stays readable when the file is gone."""
    before = _open_files()
    with check_files(folder, read_manifest(folder)) as files:
        assert ("a.bin" in files, "b.bin" in files) == (True, False)
        mapped = files.mapped("a.bin", "<u4", (6,))
        assert files.mapped("empty.bin", "<f4", (0, 7)).shape == (0, 7)
    shutil.rmtree(folder)
    assert mapped.sum() == 15
    del mapped
    assert _open_files() == before


def test_all_that_is_wrong_is_told_and_nothing_stays_open(folder: Path) -> None:
    """Changed, cut off, missing, not named: one sentence with each."""
    manifest = read_manifest(folder)
    (folder / "a.bin").write_bytes(bytes(24))
    (folder / "empty.bin").write_bytes(b"x")
    (folder / "more.bin").write_bytes(b"x")
    before = _open_files()
    with pytest.raises(AppiaError) as caught:
        check_files(folder, manifest, ["a.bin", "empty.bin", "gone.bin", "more.bin"])
    told = str(caught.value).split("; ")
    assert [fault.split("/")[-1].split(" ", 1) for fault in told] == [
        ["a.bin", "was changed: its SHA-256 is not the one in the manifest"],
        ["empty.bin", "has 1 bytes and should have 0"],
        ["gone.bin", "is missing"],
        ["more.bin", "is not named in its manifest"],
    ]
    assert _open_files() == before


@pytest.mark.parametrize("name", ["../secret", "..", "", "below/a.bin"])
def test_a_name_that_leads_out_of_the_folder_is_not_opened(folder: Path, name: str) -> None:
    """A manifest is bytes from outside too."""
    (folder / "below").mkdir()
    for place in (folder.parent / "secret", folder / "below" / "a.bin"):
        place.write_bytes(b"x")
    manifest = replace(read_manifest(folder), artifacts={name: Artifact(1, "0" * 64)})
    with pytest.raises(AppiaError, match="which is none in it"):
        check_files(folder, manifest)


def test_a_pipe_in_the_place_of_a_file_does_not_block(folder: Path) -> None:
    """Opening one waits for a writer, unless it is opened with care."""
    manifest = read_manifest(folder)
    (folder / "a.bin").unlink()
    os.mkfifo(folder / "a.bin")
    with pytest.raises(AppiaError, match=r"a\.bin is no plain file"):
        check_files(folder, manifest)


def test_a_file_that_does_not_fill_its_array_is_refused(folder: Path) -> None:
    """The sizes are of bytes; numbers as large as an attacker likes do not overflow."""
    with check_files(folder, read_manifest(folder)) as files:
        for shape in ((5,), (2**40, 2**40)):
            with pytest.raises(AppiaError, match=r"a\.bin has 24 bytes and should have"):
                files.mapped("a.bin", "<u4", shape)
        with pytest.raises(AppiaError, match=r"b\.bin is not named in its manifest"):
            files.raw("b.bin")


def test_numbers_that_do_not_fit_each_other_are_told_as_damage(folder: Path) -> None:
    """What numpy and faiss raise becomes a sentence with the folder; what is our own mistake does not."""
    with (
        pytest.raises(AppiaError, match=r"made does not hold what its manifest says .*KeyError: 'dim'"),
        damage_in(folder),
    ):
        raise KeyError("dim")
    with pytest.raises(AssertionError), damage_in(folder):
        raise AssertionError


def test_changed_identities_are_not_believed(tmp_path: Path) -> None:
    """They say which events a sealed day has: a changed one would drop an event as if it were there already."""
    state = Path(shutil.copytree(OLD, tmp_path / "state"))
    folder = state / "days" / "2026-01-20" / "sealed" / "000001" / "chunk"
    chunk = open_chunk(folder)
    assert len(chunk.identities()) == chunk.rows
    (folder / IDENTITIES).chmod(0o644)
    changed = bytearray((folder / IDENTITIES).read_bytes())
    changed[3] ^= 1
    (folder / IDENTITIES).write_bytes(changed)
    with pytest.raises(AppiaError, match=r"identities\.bin was changed"):
        chunk.identities()
    chunk.log.close()
