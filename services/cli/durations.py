"""Lengths of time and amounts of bytes in a few words, for tables."""

from __future__ import annotations

MINUTE, HOUR, DAY = 60, 3600, 86_400
STEP = 1024
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def lasting(seconds: float) -> str:
    """Two units at most, such as `3 d 4 h`, `12 min` or `0.4 s`; what is below zero counts as nothing."""
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < DAY:
        return _two(whole, (HOUR, "h"), (MINUTE, "min"))
    return _two(whole, (DAY, "d"), (HOUR, "h"))


def _two(whole: int, large: tuple[int, str], small: tuple[int, str]) -> str:
    first, rest = divmod(whole, large[0])
    second = rest // small[0]
    return f"{first} {large[1]} {second} {small[1]}" if second and first < 100 else f"{first} {large[1]}"


def sized(number: float) -> str:
    """Bytes in the unit that leaves three figures or so, such as `263 MiB`."""
    power = 0
    while abs(number) >= STEP and power < len(UNITS) - 1:
        number, power = number / STEP, power + 1
    return f"{number:.0f} {UNITS[power]}" if number >= 100 or not power else f"{number:.1f} {UNITS[power]}"
