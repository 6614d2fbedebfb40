"""Logs of a service: one JSON object a line, in ASCII, so that no attacker's text can steer a terminal.

Where a stream leads to systemd's journal each line begins with its priority, `<4>` for a warning, which the journal
takes off again (sd-daemon(3)); no line is so long that the journal would cut it in two (LineMax= in journald.conf(5)).
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO, cast

import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

LONGEST = 40_000
"""Characters in a line at most; the journal cuts at 48 KiB where it is not told otherwise."""
JOURNAL_VARIABLE = "JOURNAL_STREAM"
"""systemd says here which stream is the journal, as DEVICE:INODE (systemd.exec(5))."""
ERROR, INFO = "error", "info"
_PRIORITIES = {"debug": 7, INFO: 6, "warning": 4, ERROR: 3, "critical": 2}  # as syslog(3) has them
# JSON escapes what is below U+0020, and ASCII output all that is above U+007E; what is left is DEL.
_DELETE, _ESCAPED_DELETE = "\x7f", "\\u007f"
_TO_JSON = structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=True)


def make_logger(
    service: str, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ
) -> FilteringBoundLogger:
    """A logger that needs no global set-up and may be used by any thread.

    Args:
        service: named in every line.
        stream: where the lines go; standard error by default.
        environ: says whether that is the journal.
    """
    stream = sys.stderr if stream is None else stream
    logger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            partial(_line, is_journal=leads_to_journal(stream, environ)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    )
    return cast("FilteringBoundLogger", logger.bind(service=service))


def say_wrong(program: str, why: object, environ: Mapping[str, str] = os.environ) -> None:
    """Say on standard error why a program ends: one sentence for people, with the priority of an error."""
    say_error(f"{program}: {why}", environ)


def say_error(text: str, environ: Mapping[str, str] = os.environ) -> None:
    """Write lines for people on standard error; for the journal each has the priority of an error."""
    prefix = f"<{_PRIORITIES[ERROR]}>" if leads_to_journal(sys.stderr, environ) else ""
    sys.stderr.write("".join(f"{prefix}{line}\n" for line in text.splitlines()))


def leads_to_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether what is written there is read by systemd's journal; it is not where somebody leads it elsewhere."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return environ.get(JOURNAL_VARIABLE) == f"{status.st_dev}:{status.st_ino}"


def _line(logger: WrappedLogger, method: str, facts: EventDict, *, is_journal: bool) -> str:
    priority = _PRIORITIES.get(str(facts.get("level")), _PRIORITIES[INFO])
    text = _json(logger, method, facts)
    if len(text) > LONGEST:
        most = LONGEST // (len(facts) + 1)
        text = _json(logger, method, {name: _shortened(value, most) for name, value in facts.items()})
    return f"<{priority}>{text}" if is_journal else text


def _json(logger: WrappedLogger, method: str, facts: EventDict) -> str:
    return f"{_TO_JSON(logger, method, dict(facts))!s}".replace(_DELETE, _ESCAPED_DELETE)


def _shortened(value: Any, most: int) -> Any:
    """The beginning of a value that takes more than `most` characters in JSON; another as it is."""
    text = value if isinstance(value, str) else json.dumps(value, default=repr)
    length = len(text)
    while (escaped := len(json.dumps(text))) > most:
        text = text[: len(text) * most // escaped - 1]
    return value if len(text) == length else f"{text}... ({length} characters)"
