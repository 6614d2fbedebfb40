"""`make/check_writes.py` finds every way to change a file, and nothing that only reads."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CHANGES = [
    'path.write_text("x")',
    "path.unlink(missing_ok=True)",
    "staged.replace(path)",
    "path.mkdir()",
    "array.tofile(path)",
    "os.replace(a, b)",
    "os.ftruncate(fd, 0)",
    "os.open(path, os.O_RDWR | os.O_CREAT)",
    'open(path, "w")',
    'path.open("ab")',
    'open(path, mode="r+b")',
    "shutil.rmtree(path)",
    "tempfile.TemporaryDirectory()",
    "TemporaryFile(dir=folder)",
]
READS = [
    "path.read_bytes()",
    "open(path)",
    'path.open("rb")',
    "os.open(path, os.O_RDONLY)",
    'text.replace("a", "b")',
    "replace(settings, state=path)",
    "time.replace(tzinfo=UTC)",
    "self._disk.remove(path)",
    "self.disk.calls.rename(a, b)",
    "calls.unlink(path)",
    "shutil.disk_usage(path)",
    'sys.stdout.write("x")',
]


@pytest.fixture
def check(scripts: Path) -> Any:
    """The script as a module."""
    found: dict[str, Any] = {"__name__": "check_writes"}
    exec((scripts / "check_writes.py").read_text("utf-8"), found)  # noqa: S102 - our own script
    return found


@pytest.mark.parametrize("code", CHANGES)
def test_a_change_of_a_file_is_found(check: Any, code: str) -> None:
    """Each way that the standard library has."""
    assert [line for line, _ in check["places"](ast.parse(code))] == [1]


@pytest.mark.parametrize("code", READS)
def test_reading_and_the_disk_itself_are_not(check: Any, code: str) -> None:
    """What changes nothing, and what goes through the one module."""
    assert list(check["places"](ast.parse(code))) == []


def test_the_script_names_the_place_and_fails(scripts: Path, tmp_path: Path) -> None:
    """A finding is one line with file, line and call; the exit status stops a build."""
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "new.py").write_text('import os\nos.remove("x")\n', "utf-8")
    command = [sys.executable, str(scripts / "check_writes.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "services/new.py:2: os.remove changes a file" in done.stdout
