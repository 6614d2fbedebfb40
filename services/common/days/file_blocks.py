"""Vectors of units on disk while an index is made anew, so that whoever is killed loses one block at most.

<folder>/plan.json     what is being made, and from what: where that differs, all begins again
<folder>/vectors.f32   distinct vectors, float32, `dim` each
<folder>/numbers.u32   for each unit the number of its vector
<folder>/units.count   units and vectors that count (see `durable.CountFile`)

A block is appended and synced before it is counted; what lies beyond the count is cut off at the next start.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from services.common.counts import read_counts
from services.common.days.distinct import DistinctVectors, Embedded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.durable import Disk

PLAN, VECTORS, NUMBERS, COUNT = "plan.json", "vectors.f32", "numbers.u32", "units.count"
_RESTORED_AT_ONCE = 65_536


class FileBlocks:
    """`Blocks` in a folder. One process at a time; closed by `close`."""

    def __init__(self, disk: Disk, folder: Path, plan: Mapping[str, str | int], dim: int) -> None:
        """Take up what the folder holds of this very plan, or begin with nothing.

        Raises:
            AppiaError: the folder is damaged.
        """
        described = (json.dumps(plan, indent=1, sort_keys=True) + "\n").encode()
        path = folder / PLAN
        if not path.exists() or path.read_bytes() != described:
            if folder.exists():
                disk.remove(folder)
            disk.make_folder(folder)
            disk.write_file(path, described)
        self.done, items = read_counts(folder / COUNT)
        self._distinct = DistinctVectors(dim)
        self._folder = folder
        self._vectors, self._numbers = disk.append_to(folder / VECTORS), disk.append_to(folder / NUMBERS)
        if self._vectors.size < items * dim * 4 or self._numbers.size < self.done * 4:
            self.done = items = 0  # the disk lost what it said it had
        self._vectors.truncate(items * dim * 4)
        self._numbers.truncate(self.done * 4)
        self._count = disk.counts(folder / COUNT)
        self._restore(items, dim)

    def _restore(self, items: int, dim: int) -> None:
        stored = np.fromfile(self._folder / VECTORS, "<f4").reshape(items, dim)
        for start in range(0, items, _RESTORED_AT_ONCE):
            self._distinct.add(stored[start : start + _RESTORED_AT_ONCE])

    def append(self, vectors: NDArray[np.float32]) -> None:
        """See `Blocks.append`; what it took is on disk on return."""
        numbers = self._distinct.add(vectors)
        self._vectors.write(self._distinct.newest.astype("<f4").tobytes())
        self._numbers.write(numbers.astype("<u4").tobytes())
        self._vectors.sync()
        self._numbers.sync()
        self.done += len(vectors)
        self._count.write(self.done, len(self._distinct))

    def finish(self) -> Embedded:
        """See `Blocks.finish`."""
        return Embedded(
            self._distinct.vectors(), np.fromfile(self._folder / NUMBERS, "<u4").astype(np.uint32)
        )

    def close(self) -> None:
        """Close the files; the folder stays."""
        for file in (self._vectors, self._numbers, self._count):
            file.close()
