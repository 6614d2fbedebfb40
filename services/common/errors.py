"""Errors an operator can cause or must act on: one clear sentence each, never a traceback."""

from __future__ import annotations


class AppiaError(Exception):
    """Something failed and the operator can act on it (exit status 1).

    The message is one sentence that says what happened, with the facts (names, sizes, limits), and what to
    do about it.
    """

    exit_code = 1


class UsageError(AppiaError):
    """The command, a setting or a request was wrong (exit status 2)."""

    exit_code = 2
