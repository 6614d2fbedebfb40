"""A service that fails ends, whatever its threads do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from services.common.ending import end_if_it_fails
from services.common.errors import AppiaError

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


def test_what_an_operator_has_to_see_to_is_passed_on() -> None:
    """The caller makes a sentence and an exit status of it."""

    def run() -> None:
        raise AppiaError("The disk is full.")

    with pytest.raises(AppiaError, match="The disk is full"):
        end_if_it_fails(run)
