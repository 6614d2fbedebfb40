"""The events that an answer shows, wherever in it they stand: hits, examples of groups, lists, single ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[dict[str, Any]], dict[str, Any]]

_MARKS = ("event_id", "narrative", "src_ip")
"""What `read_events` gives of every event, and nothing else in an answer has together."""


def change_events(answer: Any, change: Change) -> Any:
    """A copy of an answer in which `change` was applied to every event that it shows.

    The answer itself stays as it is: parts of it may be kept for other answers.
    """
    if isinstance(answer, list):
        return [change_events(one, change) if isinstance(one, (dict, list)) else one for one in answer]
    if not isinstance(answer, dict):
        return answer
    copy = {
        key: change_events(value, change) if isinstance(value, (dict, list)) else value
        for key, value in answer.items()
    }
    return change(copy) if all(mark in copy for mark in _MARKS) else copy
