"""Repairs a part of a sealed day from the day's own events, beside what serves.

An index is made anew over the chunk that is there. A chunk of which files other than the events are damaged is made
anew from these, as the next generation with all indices. Events that are damaged come back from a backup only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.chain.link import SERVED
from services.common.chain.state import CHUNK
from services.common.days.consistency import BACKUP, REPAIR, look_at_index
from services.common.days.linking import Versioned, link_index, mend
from services.common.days.manifest import check_artifacts, read_manifest
from services.common.days.names import INDICES, number_name, numbered, read_pointer
from services.common.days.scrub import Pace, Scrubber
from services.common.days.versions import served_generation
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.common.days.consistency import Part
    from services.common.days.names import DayNames
    from services.common.days.sealing import Sealer


@dataclass(frozen=True)
class RepairReport:
    """What was wrong with a part, and what serves now.

    Attributes:
        day, part: what was looked at.
        was: the state in which it was found.
        why: what was wrong; empty where nothing was.
        repaired: whether anything was changed.
        generation, version: what serves now; no version for the chunk.
        done: what was done, one sentence each.
    """

    day: str
    part: str
    was: str
    why: str
    repaired: bool
    generation: int
    version: int = 0
    done: tuple[str, ...] = ()


@dataclass(frozen=True)
class Repairer:
    """Repairs days with what seals them. One at a time for each day; the ingester sees to that."""

    sealer: Sealer

    def repair(self, names: DayNames, part: str) -> RepairReport:
        """Look at a part, byte by byte, and make it good. Blocks until what is new serves.

        Raises:
            AppiaError: only a backup helps, or it could not be built; what serves is untouched then.
        """
        done = list(self._mend_pointers(names))
        found = self._look(names, part)
        if found.remedy == BACKUP:
            raise AppiaError(
                f"{found.why}. Nothing else has these events: restore {names.day} from a backup (docs/backup.md)."
            )
        if found.remedy == REPAIR:
            done.append(self._make(names, found))
        if part != CHUNK:
            done += self._drop_damaged(names, part)
        generation = served_generation(names)
        version = 0 if part == CHUNK else read_pointer(generation.index_current(part)) or 0
        return RepairReport(
            names.day, part, found.state, found.why, bool(done), generation.number, version, tuple(done)
        )

    def _look(self, names: DayNames, part: str) -> Part:
        generation = served_generation(names)
        if part != CHUNK:
            return look_at_index(generation, part, Pace().digest)
        found = Scrubber({}, Pace(), self.sealer.keys).check_day(names).chunk
        if found is None:
            raise AppiaError(f"Day {names.day} is not sealed: there is nothing to repair.")
        return found

    def _make(self, names: DayNames, found: Part) -> str:
        if found.name == CHUNK:
            report = self.sealer.seal_again(names)
            failed = "; ".join(f"{index}: {why}" for index, why in report.failed.items())
            without = f", without {failed}" if failed else ""
            return f"generation {report.generation} was made from the events{without}"
        version = self.sealer.build_again(names, found.name)
        return f"version {version} of {found.name} was made from the events"

    def _mend_pointers(self, names: DayNames) -> Iterator[str]:
        """Let pointers that are damaged or gone lead to what the last link says, or to the newest there is."""
        for pointer in self._pointers(names):
            if _is_damaged(pointer):
                self.sealer.disk.remove(pointer)
                yield f"{pointer} was damaged"
        yield from mend(self.sealer.links, names, self.sealer.disk)
        newest = max(names.generations(), default=None)
        if read_pointer(names.current) is None and newest is not None:
            self.sealer.disk.write_file(names.current, f"{number_name(newest)}\n".encode())
            yield f"{names.current} names generation {newest}, the newest there is"

    @staticmethod
    def _pointers(names: DayNames) -> Iterator[Path]:
        yield names.current
        if not _is_damaged(names.current):
            current = read_pointer(names.current)
            if current is not None:
                yield from (names.generation(current).index_current(name) for name in INDICES)

    def _drop_damaged(self, names: DayNames, index: str) -> Iterator[str]:
        """Remove versions that are damaged and not served: nobody can go back or on to them."""
        generation = served_generation(names)
        served = read_pointer(generation.index_current(index)) or 0
        others = [number for number in numbered(generation.index(index)) if number != served]
        damaged = [number for number in others if _faults(generation.index_version(index, number))]
        if not damaged:
            return
        kept = {served, *others} - set(damaged)
        link_index(self.sealer.links, names, SERVED, Versioned(index, served, kept))
        for number in damaged:
            self.sealer.disk.remove(generation.index_version(index, number))
            yield f"version {number} of {index}, which was not served, was damaged and is gone"


def _is_damaged(pointer: Path) -> bool:
    try:
        read_pointer(pointer)
    except AppiaError:
        return True
    return False


def _faults(folder: Path) -> list[str]:
    try:
        return check_artifacts(folder, read_manifest(folder))
    except (AppiaError, OSError) as error:
        return [str(error)]
