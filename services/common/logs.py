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

from services.common.journal import INFO, PRIORITIES, leads_to_journal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

LONGEST = 40_000
"""Characters in a line at most; the journal cuts at 48 KiB where it is not told otherwise."""
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


def _line(logger: WrappedLogger, method: str, facts: EventDict, *, is_journal: bool) -> str:
    priority = PRIORITIES.get(str(facts.get("level")), PRIORITIES[INFO])
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
