"""What services say of themselves, as far as it is what it should be: who answers may be anybody's program."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

MOST: Final = (1 << 63) - 1
"""The largest whole number that is believed; msgpack and JSON have larger ones."""


def whole(value: Any, least: int = 0) -> int | None:
    """A whole number from `least` on; None for everything else."""
    return value if type(value) is int and least <= value <= MOST else None


def number(value: Any) -> float | None:
    """A number that has an end; None for everything else."""
    sound = isinstance(value, int | float) and not isinstance(value, bool) and -MOST <= value <= MOST
    return float(value) if sound and isfinite(value) else None


def count(value: Any) -> float:
    """A number from 0 on.

    Raises:
        ValueError: it is none.
    """
    found = number(value)
    if found is None or found < 0:
        raise ValueError(f"{value!r:.80} is no count")
    return found


def yes_or_no(value: Any) -> bool | None:
    """Yes or no; None for everything else."""
    return value if isinstance(value, bool) else None


def text(value: Any, most: int) -> str:
    """A text of at most so many characters; empty for everything else."""
    return value[:most] if isinstance(value, str) else ""
