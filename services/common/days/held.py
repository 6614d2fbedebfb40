"""What a copy of a state directory says of itself: `mirror.json`, written by the mirror that keeps it.

{"format": 1, "source": URL, "reached": true, "not_held": {"2026-01-20": "why, as a clause"}}

Replicas name the days that are not held in every answer that they could have mattered to, so that none is silently
partial. Days that the source dropped are not among them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from services.common.days.names import parse_day
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from services.common.durable import Disk

FORMAT = 1
MOST_DAYS = 100_000
MOST_BYTES = 32 << 20
_LONGEST_WHY = 500


@dataclass(frozen=True)
class Held:
    """What is not held here of a source, by day. `reached` is whether its days were ever seen."""

    source: str
    reached: bool
    not_held: Mapping[str, str] = field(default_factory=dict)


def write_held(disk: Disk, path: Path, held: Held) -> None:
    """Write it; durable when this returns. Raises `OSError`."""
    not_held = {day: why[:_LONGEST_WHY] for day, why in sorted(held.not_held.items())}
    plain = {"format": FORMAT, **asdict(held), "not_held": not_held}
    disk.write_file(path, (json.dumps(plain, indent=1) + "\n").encode())


def read_held(path: Path) -> Held | None:
    """What a file says; None where there is none: then this is no copy. Blocks on the disk.

    Raises:
        AppiaError: it cannot be read, is damaged, or of a newer release.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AppiaError(f"{path} cannot be read ({error.strerror}): check its owner.") from None
    return _parse(data, path)


def _parse(data: bytes, path: Path) -> Held:
    try:
        raw: Any = json.loads(data[:MOST_BYTES])
        is_newer = type(raw["format"]) is int and raw["format"] > FORMAT
        not_held = {parse_day(day): str(why)[:_LONGEST_WHY] for day, why in raw["not_held"].items()}
        held = Held(str(raw["source"]), raw["reached"] is True, not_held)
    except (UsageError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise AppiaError(f"{path} is damaged: start the mirror that writes it again.") from None
    if is_newer or len(held.not_held) > MOST_DAYS:
        raise AppiaError(f"{path} is of a newer release: install a newer appia.")
    return held
