"""A service that fails ends, whatever its threads do."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from services.common.ending import end_if_it_fails
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path

HANGING = """
import threading
from services.common.ending import end_if_it_fails

def run():
    threading.Thread(target=threading.Event().wait).start()
    raise OSError(24, "Too many open files")

end_if_it_fails(run)
"""


def test_a_process_ends_although_a_thread_was_not_told_to_stop() -> None:
    """It says why and has an exit status by which it is started anew."""
    ended = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 1
    assert "Too many open files" in ended.stderr


def test_every_line_of_a_failure_is_an_error_to_the_journal(tmp_path: Path) -> None:
    """`journalctl -p err` shows the whole of it; otherwise its lines would be plain information."""
    with (tmp_path / "journal").open("wb") as journal:
        status = os.fstat(journal.fileno())
        environ = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        subprocess.run([sys.executable, "-c", HANGING], stderr=journal, env=environ, timeout=30, check=False)
    lines = (tmp_path / "journal").read_text().splitlines()
    assert lines[0] == "<3>Traceback (most recent call last):"
    assert lines[-1] == "<3>OSError: [Errno 24] Too many open files"
    assert all(line.startswith("<3>") for line in lines)


def test_what_an_operator_has_to_see_to_is_passed_on() -> None:
    """The caller makes a sentence and an exit status of it."""

    def run() -> None:
        raise AppiaError("The disk is full.")

    with pytest.raises(AppiaError, match="The disk is full"):
        end_if_it_fails(run)
