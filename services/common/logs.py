"""Logs of a service: one JSON object a line, in ASCII, so that no attacker's text can steer a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO, cast

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

# JSON escapes what is below U+0020, and ASCII output all that is above U+007E; what is left is DEL.
_DELETE, _ESCAPED_DELETE = "\x7f", "\\u007f"


def make_logger(service: str, stream: TextIO | None = None) -> FilteringBoundLogger:
    """A logger that needs no global set-up and may be used by any thread.

    Args:
        service: named in every line.
        stream: where the lines go; standard error by default.
    """
    logger = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr if stream is None else stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=True),
            _escape_delete,
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    )
    return cast("FilteringBoundLogger", logger.bind(service=service))


def _escape_delete(_logger: WrappedLogger, _method: str, line: EventDict | str) -> str:
    return f"{line}".replace(_DELETE, _ESCAPED_DELETE)
