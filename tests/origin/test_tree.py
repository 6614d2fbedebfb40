"""Only carried files are read, and no link leads out of the state directory."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from services.common.rpc import NotFound
from services.origin.tree import FILE, FOLDER, Tree
from tests.origin.conftest import OPEN, SEALED

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(world: Any) -> Tree:
    return Tree(world.state.root)


def test_what_is_there_is_listed(tree: Tree, world: Any) -> None:
    """Folders and files that are carried, in order; nothing of what else lies there."""
    (world.state.root / "keys").mkdir()
    (world.state.root / "days" / "lost+found").mkdir()
    assert tree.names("") == ["VERSION", "days"]
    assert tree.names("days") == [SEALED, OPEN]
    there = {path.name for path in world.state.day(OPEN).segment(1).folder.iterdir()}
    assert set(tree.names(f"days/{OPEN}/open/000001")) == {
        name for name in there if not name.startswith("metadata.db")
    }
    assert tree.stat("VERSION").kind == FILE
    assert tree.stat("days").kind == FOLDER


def test_ranges_are_read(tree: Tree) -> None:
    """From a byte, up to the end and no further; with the size of the whole file."""
    assert tree.read("VERSION", 0, 100) == (b"1\n", 2)
    assert tree.read("VERSION", 1, 100) == (b"\n", 2)
    assert tree.read("VERSION", 2, 100) == (b"", 2)
    assert tree.read("VERSION", 9, 100) == (b"", 2)
    assert tree.read("VERSION", 0, 0) == (b"", 2)


@pytest.mark.parametrize("path", ["", "days", f"days/{SEALED}"])
def test_a_folder_is_no_file(tree: Tree, path: str) -> None:
    """And is not read as one."""
    with pytest.raises(NotFound):
        tree.read(path, 0, 1)


def test_a_file_is_no_folder(tree: Tree) -> None:
    """And is not listed as one."""
    with pytest.raises(NotFound):
        tree.names("VERSION")


@pytest.mark.parametrize("what", ["file", "folder", "above"])
def test_a_link_leads_nowhere(tree: Tree, world: Any, tmp_path: Path, what: str) -> None:
    """Whoever can put a link among the files of a day gives nobody the file that it leads to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "columns.bin").write_text("secret")
    segment = world.state.day(OPEN).segment(1).folder
    victim = {"file": segment / "columns.bin", "folder": segment, "above": segment.parent.parent}[what]
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
    target = outside / "columns.bin" if what == "file" else outside
    victim.symlink_to(target)
    if what == "above":
        (outside / "open" / "000001").mkdir(parents=True)
        (outside / "open" / "000001" / "columns.bin").write_text("secret")
    with pytest.raises(NotFound):
        tree.read(f"days/{OPEN}/open/000001/columns.bin", 0, 10)


def test_the_days_may_lie_on_another_disk(tree: Tree, world: Any, tmp_path: Path) -> None:
    """A link in the state directory itself is the operator's, and is followed."""
    world.state.root.joinpath("days").rename(tmp_path / "elsewhere")
    world.state.root.joinpath("days").symlink_to(tmp_path / "elsewhere")
    assert tree.names("days") == [SEALED, OPEN]


def test_a_pipe_holds_nobody_up(tree: Tree, world: Any) -> None:
    """A named pipe in the place of a file is not there."""

    world.state.version.unlink()
    os.mkfifo(world.state.version)
    with pytest.raises(NotFound):
        tree.read("VERSION", 0, 1)


def test_what_may_not_be_seen_is_not_there(world: Any) -> None:
    """In a listing, and by its name."""
    tree = Tree(world.state.root, lambda place: place.day != OPEN)
    assert tree.names("days") == [SEALED]
    with pytest.raises(NotFound, match="There is no 'days/2026-01-22/open'"):
        tree.names(f"days/{OPEN}/open")
