"""What health remembers from one round to the next, and over its own restarts: `<state>/health/memory.json`.

It is written before anything is done that it speaks of, so that a kill at any moment repeats nothing and forgets
nothing. What only shows trends is written once a minute.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from services.common.errors import AppiaError
from services.health.observation import Attempt  # noqa: TC001 - pydantic reads it when the file is read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.durable import Disk

VERSION = 1
NAME = "memory.json"
WRITE_EVERY_S = 60.0


@dataclass
class KnownService:
    """A service that was there once.

    `heard_ns` is when the process `pid` answered last, `starts` are the moments at which another one took its place,
    `down_ns` since when it does not answer (0: it does), in nanoseconds since 1970.
    """

    address: str = ""
    public_key: str = ""
    pid: int = 0
    heard_ns: int = 0
    seen_ns: int = 0
    down_ns: int = 0
    starts: list[int] = field(default_factory=list)


@dataclass
class KnownSensor:
    """A sensor that sent events as they happened.

    `gaps` has the longest silence of each day, `(day number, s)`; `deaf_s` is how long of the time since `newest_ns`
    there was no ingester to hear it.
    """

    newest_ns: int = 0
    events: int = 0
    clock_s: float = 0.0
    deaf_s: float = 0.0
    gaps: list[tuple[int, float]] = field(default_factory=list)


@dataclass
class Fault:
    """What reading every byte of a part of a day showed. It holds as long as `mark` names the files that are served."""

    mark: str
    state: str
    why: str
    remedy: str


@dataclass
class Scrub:
    """When every byte of a day was read last, and what was wrong: by part, an index or `chunk`."""

    at_ns: int = 0
    faults: dict[str, Fault] = field(default_factory=dict)


@dataclass
class Audit:
    """The last audit of an index of a day: when, of which files, and what it measured."""

    at_ns: int = 0
    mark: str = ""
    recall: float | None = None
    distance_cv: float | None = None


@dataclass
class Counted:
    """Counters of the ingester, added up over its restarts.

    `raw` is what the process that began at `started` said last, `samples` what all counted up to some moments
    (nanoseconds since 1970), the newest last.
    """

    started: str = ""
    raw: dict[str, float] = field(default_factory=dict)
    samples: list[tuple[int, dict[str, float]]] = field(default_factory=list)


@dataclass
class KnownClock:
    """What the clock said last, and when it stepped ahead last, nanoseconds since 1970; 0 for never."""

    seen_ns: int = 0
    stepped_ns: int = 0


@dataclass
class Remembered:
    """All of it; each part of the observer changes what is its own."""

    version: int = VERSION
    services: dict[str, KnownService] = field(default_factory=dict)
    sensors: dict[str, KnownSensor] = field(default_factory=dict)
    forgotten: dict[str, int] = field(default_factory=dict)
    """By sensor, the newest event (nanoseconds since 1970) that it had when an operator had it forgotten."""
    counted: Counted = field(default_factory=Counted)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    disks: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    scrubs: dict[str, Scrub] = field(default_factory=dict)
    audits: dict[str, Audit] = field(default_factory=dict)
    clock: KnownClock = field(default_factory=KnownClock)
    chain_links: int = 0
    chain_head: str = ""


_FORM = TypeAdapter(Remembered)


class Memory:
    """The file and what it holds. For one thread."""

    def __init__(self, folder: Path, disk: Disk, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Read it from `folder`, which is there; one that is damaged is begun anew, and `fault` says so.

        Raises:
            AppiaError: it is of a newer release, or cannot be read.
        """
        self._path = folder / NAME
        self._disk = disk
        self._monotonic = monotonic
        self.fault = ""
        self.now = self._read()
        self._urgent = False
        self._written_s = monotonic()

    def urgent(self) -> None:
        """Say that what changed must be on disk before anything else is done."""
        self._urgent = True

    def keep(self, *, at_once: bool = False) -> None:
        """Write it where something is urgent, or was not written for a minute. Blocks on the disk; raises OSError."""
        now_s = self._monotonic()
        self._urgent = at_once or self._urgent or now_s - self._written_s >= WRITE_EVERY_S
        if not self._urgent:
            return
        self._disk.write_file(self._path, _FORM.dump_json(self.now))
        self._urgent, self._written_s = False, now_s

    def _read(self) -> Remembered:
        try:
            found = _FORM.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return Remembered()
        except OSError as error:
            raise AppiaError(
                f"{self._path} cannot be read ({error.strerror}): check its owner and mode."
            ) from None
        except ValidationError:
            self.fault = f"{self._path} was damaged; what it held is learned anew."
            return Remembered()
        if found.version > VERSION:
            raise AppiaError(
                f"{self._path} has version {found.version}, this release reads up to {VERSION}: install a newer appia."
            )
        return found
