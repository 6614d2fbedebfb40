"""What the state directory gives to a case: original bytes of events, manifests of their days, links of the chain."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Self

import numpy as np

from services.common.cases.listing import LINKS, LeftOut, generation_of, part_file
from services.common.chain.state import CHUNK
from services.common.chain.store import read_chain
from services.common.days.chunk import IDENTITIES, open_chunk
from services.common.days.columns import ROW
from services.common.days.identity import IDENTITY, identities
from services.common.days.manifest import MANIFEST
from services.common.days.open_writer import SegmentLogReader
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from services.common.cases.listing import CaseEvent
    from services.common.chain.check import CheckedChain
    from services.common.chain.state import GenerationState
    from services.common.days.chunk import Chunk
    from services.common.days.names import StateNames
    from services.common.rest.log_keys import LogKeys

MOST_IDENTITIES = 1 << 25
"""Bytes of the identities of a day that go into a case: those of two million events."""


class Evidence:
    """Reads from a state directory, whether a stack runs on it or not. `files` and `left_out` grow. For one thread."""

    def __init__(self, names: StateNames, keys: LogKeys) -> None:
        """Read the chain; `keys` open encrypted logs."""
        self._names, self._keys = names, keys
        self._opened = ExitStack()
        self._chunks: dict[tuple[str, int], Chunk] = {}
        self.files: dict[str, bytes] = {}
        self.left_out: list[LeftOut] = []
        self.head = ""
        self._chain = self._read_chain()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def original(self, event: CaseEvent) -> bytes:
        """The event's own bytes, as its sensor sent them. Blocks; of a sealed day the columns are checked first.

        Raises:
            AppiaError: they are not there any more, damaged, or encrypted and no key opens them.
        """
        generation = generation_of(event.segment)
        try:
            return self._of_open(event) if generation is None else self._of_sealed(event, generation)
        except FileNotFoundError:
            raise self._gone(event) from None

    def add_days(self, places: Iterable[tuple[str, int]], proving: frozenset[tuple[str, int]]) -> None:
        """Take in the manifests of some days by day and generation, and the links about them.

        Of those in `proving` also the identities of all events: with them a case shows that an event was in its day.
        """
        days = sorted(set(places))
        for day, generation in days:
            self._add_day(day, generation, proves=(day, generation) in proving)
        links = self._chain.excerpt(day for day, _ in days) if days else ()
        if any(link.day for link in links):
            self.files[LINKS] = b"".join(link.line + b"\n" for link in links)

    def holds(self, day: str, generation: int, original: bytes) -> bool:
        """Whether the identities that were taken in name an event of these bytes."""
        name = part_file(day, generation, CHUNK, IDENTITIES)
        content = self.files.get(name, b"")
        if len(content) % IDENTITY.itemsize:  # damaged
            return False
        known = np.frombuffer(content, IDENTITY)
        return bool((known == identities([original])[0]).any())

    def _read_chain(self) -> CheckedChain:
        chain = read_chain(self._names.links, None)
        if chain.faults:
            self.left_out.append(LeftOut(LINKS, f"the chain is damaged: {chain.faults[0].sentence}"))
            return type(chain)()
        self.head = chain.head
        return chain

    def _gone(self, event: CaseEvent) -> AppiaError:
        return AppiaError(
            f"{event.segment} of {event.day} is not in {self._names.root} (any more): make the case again"
        )

    def _of_sealed(self, event: CaseEvent, generation: int) -> bytes:
        if not self._names.day(event.day).generation(generation).folder.is_dir():
            raise self._gone(event)
        chunk = self._chunk(event.day, generation)
        if not 0 <= event.row < chunk.rows:
            raise AppiaError(f"{chunk.folder} has {chunk.rows} events and no row {event.row}")
        return chunk.log.event(int(chunk.columns["position"][event.row]))

    def _of_open(self, event: CaseEvent) -> bytes:
        names = self._names.day(event.day).segment(int(event.segment.rpartition("-")[2]))
        with names.columns.open("rb") as file:
            file.seek(event.row * ROW.itemsize)
            row = np.frombuffer(file.read(ROW.itemsize), ROW)
        if not len(row):
            raise AppiaError(f"{names.columns} has no row {event.row}")
        with closing(SegmentLogReader(names, self._keys)) as log:
            found = log.event(int(row["position"][0]))
        if found is None:
            raise AppiaError(f"the log in {names.folder} is damaged there: run `appia verify`")
        return found

    def _chunk(self, day: str, generation: int) -> Chunk:
        if (day, generation) not in self._chunks:
            chunk = open_chunk(self._names.day(day).generation(generation).chunk, self._keys)
            self._opened.callback(chunk.log.close)
            self._chunks[day, generation] = chunk
        return self._chunks[day, generation]

    def _add_day(self, day: str, generation: int, *, proves: bool) -> None:
        folder = self._names.day(day).generation(generation).folder
        signed = self._signed(day, generation)
        if signed is None:
            what = f"days/{day}/{generation:06d}"
            self.left_out.append(LeftOut(what, "the day is in no link of the chain: it is not signed"))
        parts = {CHUNK: ""} if signed is None else signed.parts()
        for part, digest in parts.items():
            self._add(part_file(day, generation, part, MANIFEST), folder / part / MANIFEST, digest)
        if proves and part_file(day, generation, CHUNK, MANIFEST) in self.files:
            self._add(part_file(day, generation, CHUNK, IDENTITIES), folder / CHUNK / IDENTITIES)

    def _signed(self, day: str, generation: int) -> GenerationState | None:
        """The generation as the newest link has it that names it."""
        for link in reversed(self._chain.links_of(day)):
            if link.state is not None and generation in link.state.generations:
                return link.state.generations[generation]
        return None

    def _add(self, name: str, path: Path, digest: str = "") -> None:
        """Take a file in, where it is there and, if `digest` is given, as it was signed."""
        try:
            with path.open("rb") as file:
                data = file.read(MOST_IDENTITIES + 1)
        except OSError as error:
            self.left_out.append(LeftOut(name, f"it cannot be read ({error.strerror})"))
            return
        if len(data) > MOST_IDENTITIES:
            self.left_out.append(LeftOut(name, f"it has more than {MOST_IDENTITIES:,} bytes"))
        elif digest and hashlib.sha256(data).hexdigest() != digest:
            self.left_out.append(
                LeftOut(name, "it was altered: the chain names another SHA-256; run `appia verify`")
            )
        else:
            self.files[name] = data
