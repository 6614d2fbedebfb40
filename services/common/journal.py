"""What a process says on standard error besides its log: sentences for people, with a priority for systemd's journal.

Nothing is imported here that a process would have to carry: this is needed before anything else.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

JOURNAL_VARIABLE = "JOURNAL_STREAM"
"""systemd says here which stream is the journal, as DEVICE:INODE (systemd.exec(5))."""
ERROR, INFO = "error", "info"
PRIORITIES = {"debug": 7, INFO: 6, "warning": 4, ERROR: 3, "critical": 2}
"""By the level of a line of the log, as syslog(3) has them."""


def say_wrong(program: str, why: object, environ: Mapping[str, str] = os.environ) -> None:
    """Say on standard error why a program ends: one sentence for people, with the priority of an error."""
    say_error(f"{program}: {why}", environ)


def say_error(text: str, environ: Mapping[str, str] = os.environ) -> None:
    """Write lines for people on standard error; for the journal each has the priority of an error."""
    prefix = f"<{PRIORITIES[ERROR]}>" if leads_to_journal(sys.stderr, environ) else ""
    sys.stderr.write("".join(f"{prefix}{line}\n" for line in text.splitlines()))


def leads_to_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether what is written there is read by systemd's journal; it is not where somebody leads it elsewhere."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return environ.get(JOURNAL_VARIABLE) == f"{status.st_dev}:{status.st_ino}"
