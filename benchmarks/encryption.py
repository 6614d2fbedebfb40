"""What encryption of logs costs: `python -m benchmarks.encryption [--events N] [--rounds N]`.

Appends, syncs and reads the same events plain and encrypted, in turn, and prints the ratio of the medians. The disk is
that of `--folder`; on one that is slow to sync the ratios are nearer to 1.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.log import EVENT, LogReader, LogWriter
from services.common.days.log_blocks import EVENTS_A_BLOCK
from services.common.durable import Disk
from services.common.rest.storage_keys import NO_KEYS, StorageKeys, new_storage_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.common.rest.log_keys import LogKeys

GROUP = 256
"""Events a sync, as in a group commit."""
EVENT_BYTES = (400, 1200)

Timed = dict[str, float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, default=None, help="on the disk to measure; a temporary one if left out"
    )
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    # Half noise, half the same: events compress to about a half.
    events = [rng.bytes(size // 2) + bytes(size // 2) for size in rng.integers(*EVENT_BYTES, options.events)]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        new_storage_keys(Disk(), Path(folder) / "storage.keys")
        keys: Mapping[str, LogKeys] = {
            "plain": NO_KEYS,
            "encrypted": StorageKeys(Path(folder) / "storage.keys", print),
        }
        timed: dict[str, list[Timed]] = {name: [] for name in keys}
        for number in range(options.rounds):
            for name, its in keys.items():
                timed[name].append(_round(Path(folder) / f"{name}-{number}", events, its))
    _show(timed)


def _round(path: Path, events: Sequence[bytes], keys: LogKeys) -> Timed:
    """Seconds of each step."""
    found: Timed = {}
    disk = Disk()
    log = LogWriter(disk, path.with_suffix(".log"), keys)
    starts = range(0, len(events), GROUP)

    def append() -> None:
        for start in starts:
            log.append(EVENT, start, events[start : start + GROUP])
            log.sync()

    found["append and sync, 256 events a group"] = _seconds(append)
    log.close()
    reader = LogReader(log.path, keys)
    found["read all"] = _seconds(lambda: sum(1 for _ in reader.scan()))
    reader.close()
    sealed = LogWriter(disk, path.with_suffix(".chunk"), keys)
    positions: list[int] = []

    def seal() -> None:
        for start in range(0, len(events), EVENTS_A_BLOCK):
            positions.extend(sealed.append_block(start, events[start : start + EVENTS_A_BLOCK], 6).tolist())

    found["compress and write blocks"] = _seconds(seal)
    sealed.close()
    chunk = LogReader(sealed.path, keys)
    some = np.random.default_rng(2).permutation(positions)[:5000].tolist()
    found["read 5,000 events of blocks"] = _seconds(lambda: [chunk.event(position) for position in some])
    chunk.close()
    return found


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _show(timed: Mapping[str, Sequence[Timed]]) -> None:
    for step in timed["plain"][0]:
        plain, encrypted = (
            statistics.median(one[step] for one in timed[name]) for name in ("plain", "encrypted")
        )
        print(f"{step:38} plain {plain:.3f} s, encrypted {encrypted:.3f} s, ratio {encrypted / plain:.2f}")


if __name__ == "__main__":
    main()
