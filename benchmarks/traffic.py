"""Makes a larger file of traffic from a small one: round after round, each a little later and a little different.

Equal copies would flatter the system: it keeps equal vectors once, and every neighbour would be at distance 0.
"""

from __future__ import annotations

import csv
import gzip
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ROUND_SECONDS = 170
"""25 rounds of a working day of eight hours still end on that day."""
WEEK_SECONDS = 7 * 86_400
# What measures a flow, in any dialect of CICFlowMeter; counts of flags, ports and header sizes stay as they are.
_MEASURES = ("duration", "iat", "active", "idle", "/s", "byts_s", "pkts_s", "length", "len", "size")
_NOT = ("header", "min", "totlen", "total length")


def write_rounds(source: Path, target: Path, rows: int, vary: float, weeks: int = 1) -> None:
    """Write `rows` flows to `target`: those of `source`, then again `ROUND_SECONDS` later, and so on.

    With `weeks` each further round is a week later first, and `ROUND_SECONDS` only when there are that many weeks.
    From the second round on each measure of a flow is multiplied by exp(N(0, `vary`)), seeded. Blocks for some
    40 microseconds a row.
    """
    opener = gzip.open if source.suffix == ".gz" else open
    with opener(source, "rt", encoding="utf-8", newline="") as file:
        header, *body = list(csv.reader(file))
    columns = list(zip(*body, strict=True))
    random = np.random.default_rng(11)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        left = rows
        number = 0
        while left > 0:
            turn, week = divmod(number, weeks)
            later = np.timedelta64(turn * ROUND_SECONDS + week * WEEK_SECONDS, "s") if number else None
            changed = [_changed(n, c, later, (random, vary)) for n, c in zip(header, columns, strict=True)]
            writer.writerows(list(zip(*changed, strict=True))[:left])
            left -= len(body)
            number += 1
    partial.replace(target)


def _changed(
    name: str, cells: tuple[str, ...], later: np.timedelta64 | None, how: tuple[np.random.Generator, float]
) -> Any:
    lower = name.strip().lower()
    if later is None:
        return cells
    if lower == "timestamp":
        moved = np.array(cells, "datetime64[us]") + later
        return np.char.replace(moved.astype(str), "T", " ").tolist()
    if any(word in lower for word in _MEASURES) and not any(word in lower for word in _NOT):
        return _varied(cells, how)
    return cells


def _varied(cells: tuple[str, ...], how: tuple[np.random.Generator, float]) -> list[str]:
    random, vary = how
    values: NDArray[np.float64] = np.array(cells, np.float64)
    whole = not any("." in cell for cell in cells)
    values = values * np.exp(random.normal(0.0, vary, len(values)))
    return [format(v, ".0f" if whole else ".9g") for v in values.tolist()]
