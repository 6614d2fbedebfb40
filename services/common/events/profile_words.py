"""What a profile says, as plain values for programs and in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.common.events.profiles import COLUMN, HOURS, RANGES, SERVICES, SIDES, VERDICTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

_MOST_SERVICES = 3
_LEAST_SHARE = 0.01
_UNITS = ("B", "kB", "MB", "GB", "TB")
_STEP = 1000.0


def profile_facts(profile: NDArray[np.float32]) -> dict[str, Any]:
    """The numbers of one host (len(PROFILE),) that a person asks for first.

    `out` is what it began, `in` what came to it: each has `events`, `bytes`, `peers`, `ports` and `services`, shares of
    the events by service, the largest first. `verdicts` are shares of all its events; `active_hours` are UTC.
    """
    sides = {side: _side(profile, side) for side in SIDES}
    events = sum(found["events"] for found in sides.values())
    noticed = {
        name: sum(_number(profile, f"{side}.{name}") * sides[side]["events"] for side in SIDES)
        / max(events, 1)
        for name in VERDICTS
    }
    hours = [hour for hour in range(HOURS) if _number(profile, f"hour.{hour:02d}") > 0]
    threat = max(_number(profile, f"{side}.highest_threat") for side in SIDES)
    verdicts = {name: round(share, 4) for name, share in noticed.items()}
    return {**sides, "verdicts": verdicts, "highest_threat": round(threat, 4), "active_hours": hours}


def profile_words(facts: Mapping[str, Any]) -> str:
    """One line about a host, from its facts."""
    parts = [_side_words(facts["out"], "began", "with"), _side_words(facts["in"], "received", "from")]
    said = [part for part in parts if part] or ["no events"]
    said.append(size_words(facts["out"]["bytes"] + facts["in"]["bytes"]))
    hours = facts["active_hours"]
    said.append(
        f"active in {_counted(len(hours), 'hour')} ({_hour_words(hours)} UTC)" if hours else "never active"
    )
    said += [
        f"{_percent(facts['verdicts'][name])} {name}"
        for name in VERDICTS
        if name != "benign" and facts["verdicts"][name] > 0
    ]
    return "; ".join(said)


def size_words(count: float) -> str:
    """Bytes in few digits: 2.1 MB."""
    for unit in _UNITS[:-1]:
        if count < _STEP:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _STEP
    return f"{count:,.1f} {_UNITS[-1]}"


def _number(profile: NDArray[np.float32], name: str) -> float:
    return float(profile[COLUMN[name]])


def _side(profile: NDArray[np.float32], side: str) -> dict[str, Any]:
    shares = {name: _number(profile, f"{side}.{name}") for name in (*SERVICES, *RANGES)}
    largest = sorted(shares.items(), key=lambda pair: -pair[1])
    counts = {
        name: round(_number(profile, f"{side}.{name}")) for name in ("events", "bytes", "peers", "ports")
    }
    services = {name: round(share, 4) for name, share in largest if share >= _LEAST_SHARE}
    return {**counts, "services": services}


def _side_words(side: Mapping[str, Any], verb: str, preposition: str) -> str:
    if not side["events"]:
        return ""
    services = list(side["services"].items())[:_MOST_SERVICES]
    shares = ", ".join(f"{name.replace('_', ' ')} {_percent(share)}" for name, share in services)
    return (
        f"{verb} {_counted(side['events'], 'event')} {preposition} {_counted(side['peers'], 'host')} "
        f"on {_counted(side['ports'], 'port')} ({shares})"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= _LEAST_SHARE else "under 1%"


def _hour_words(hours: list[int]) -> str:
    """Ascending hours as stretches: 07-11, 14."""
    stretches: list[list[int]] = []
    for hour in hours:
        if stretches and stretches[-1][-1] == hour - 1:
            stretches[-1][1:] = [hour]
        else:
            stretches.append([hour])
    return ", ".join("-".join(f"{hour:02d}" for hour in stretch) for stretch in stretches)
