"""Checks a case: whether it is as it was signed, and whether its events were in days that the chain names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.common.cases.archive import read_archive
from services.common.cases.listing import (
    LINKS,
    LISTING,
    ORIGINAL,
    SIGNATURE,
    Listing,
    event_file,
    fault_of_signature,
    from_bytes,
    generation_of,
    id_in,
    is_name,
    part_file,
)
from services.common.chain.check import CheckedChain, check_chain
from services.common.chain.state import CHUNK
from services.common.days.chunk import IDENTITIES
from services.common.days.identity import IDENTITY, identities
from services.common.days.manifest import MANIFEST, parse_manifest
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.common.cases.archive import CaseArchive
    from services.common.cases.listing import CaseEvent
    from services.common.chain.keys import PublicKey
    from services.common.chain.link import Link
    from services.common.chain.state import GenerationState

_MOST_TEXT = 1 << 24
_MOST_LINKS = 1 << 16  # each that is none is named, and 16 MiB have room for millions


@dataclass(frozen=True)
class Shown:
    """What a case shows of an event: that its own bytes are there, and the link that vouches for its day (0: none)."""

    event: CaseEvent
    original: bool
    link: int


@dataclass(frozen=True)
class CaseCheck:
    """What was found. Without faults everything that the case holds is as it was signed."""

    listing: Listing
    events: tuple[Shown, ...]
    faults: tuple[str, ...]


def check_case(path: Path, trusted: PublicKey, chain_key: PublicKey) -> CaseCheck:
    """Check a case. Blocks while its files are read; nothing is unpacked, and at most 256 MiB are held.

    Args:
        path: the file.
        trusted: the key that has to have signed the case.
        chain_key: the key that has to have signed the chain of days.

    Raises:
        UsageError: there is no such file, or it is no plain one.
        AppiaError: it is no case, or its list cannot be read.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise UsageError(f"{path} is no plain file: give the case that was handed over.")
    try:
        with path.open("rb") as file:
            return _Check(path, read_archive(file, path, is_name), chain_key).run(trusted)
    except OSError as error:
        raise UsageError(
            f"The case {path} cannot be read ({error.strerror}): check its name and owner."
        ) from None


class _Check:
    def __init__(self, path: Path, archive: CaseArchive, chain_key: PublicKey) -> None:
        self._path, self._archive, self._chain_key = path, archive, chain_key
        self._faults = list(archive.faults)

    def run(self, trusted: PublicKey) -> CaseCheck:
        listed, signature = self._needed(LISTING), self._needed(SIGNATURE)
        if fault := fault_of_signature(listed, signature, trusted):
            self._faults.append(fault)
        try:
            listing = from_bytes(listed)
        except AppiaError as error:
            raise AppiaError(
                "; ".join([*self._faults, f"{LISTING} in {self._path} was altered: {error}"])
            ) from None
        self._faults += self._compare(listing)
        chain = self._chain()
        proven = dict(self._proven(chain))
        events = tuple(self._shown(number, event, proven) for number, event in enumerate(listing.events, 1))
        return CaseCheck(listing, events, tuple(self._faults))

    def _needed(self, name: str) -> bytes:
        if name not in self._archive.members:
            raise AppiaError("; ".join([*self._archive.faults, f"{self._path} has no {name}: it is missing"]))
        return self._text(name)

    def _text(self, name: str) -> bytes:
        """A file that is read whole; nothing of one that is larger than any such file."""
        if self._archive.members[name].size > _MOST_TEXT:
            self._faults.append(f"{name} has {self._archive.members[name].size:,} bytes, which is too much")
            return b""
        return self._archive.content(name)

    def _compare(self, listing: Listing) -> Iterator[str]:
        """What is missing, was put in or was altered."""
        there = self._archive.members.keys() - {LISTING, SIGNATURE}
        for name in sorted(there | listing.files.keys()):
            if name not in there:
                yield f"{name} is missing"
            elif name not in listing.files:
                yield f"{name} was put in: {LISTING} does not name it"
            elif self._digest(name) != listing.files[name]:
                yield f"{name} was altered: {LISTING} names another SHA-256"

    def _digest(self, name: str) -> str:
        digest = hashlib.sha256()
        for piece in self._archive.pieces(name):
            digest.update(piece)
        return digest.hexdigest()

    def _chain(self) -> CheckedChain:
        if LINKS not in self._archive.members:
            return CheckedChain()
        text = self._text(LINKS)
        if (count := text.count(b"\n")) > _MOST_LINKS:
            self._faults.append(f"{LINKS} has {count:,} lines, which is too much")
            return CheckedChain()
        lines = text.split(b"\n")
        chain = check_chain(lines[:-1], self._chain_key, excerpt=True)
        self._faults += [f"{LINKS}: {fault.sentence}" for fault in chain.faults]
        return chain

    def _proven(self, chain: CheckedChain) -> Iterator[tuple[tuple[str, int], int]]:
        """The days and generations whose manifests are all as a link has them, and its number."""
        for day in sorted({name.split("/")[1] for name in self._archive.members if name.startswith("days/")}):
            for generation in self._generations(day):
                link, state = _newest(chain, day, generation)
                if link is not None and state is not None and self._is_signed(day, generation, state, link):
                    yield (day, generation), link.number

    def _generations(self, day: str) -> list[int]:
        names = [name.split("/") for name in self._archive.members if name.startswith(f"days/{day}/")]
        return sorted({int(name[2]) for name in names})

    def _is_signed(self, day: str, generation: int, state: GenerationState, link: Link) -> bool:
        """Whether every manifest that is there is one that the link names; says which is not."""
        start = part_file(day, generation, "", "").rstrip("/") + "/"
        parts = state.parts()
        is_signed = True
        for name in sorted(name for name in self._archive.members if name.startswith(start)):
            part, _, file = name.removeprefix(start).rpartition("/")
            if file == MANIFEST and self._digest(name) != parts.get(part):
                self._faults.append(f"{name} is not the manifest that link {link.number} names")
                is_signed = False
        return is_signed and part_file(day, generation, CHUNK, MANIFEST) in self._archive.members

    def _shown(self, number: int, event: CaseEvent, proven: dict[tuple[str, int], int]) -> Shown:
        name = event_file(number, ORIGINAL)
        if name not in self._archive.members:
            if event.sha256:
                self._faults.append(f"event {number} should have its own bytes in {name}")
            return Shown(event, original=False, link=0)
        original = self._text(name)
        if hashlib.sha256(original).hexdigest() != event.sha256 or id_in(original) != event.event_id:
            self._faults.append(f"{name} is not the event {event.event_id!r} that {LISTING} names")
            return Shown(event, original=False, link=0)
        generation = generation_of(event.segment)
        link = 0 if generation is None else proven.get((event.day, generation), 0)
        holds = generation is not None and link and self._holds(event.day, generation, original)
        return Shown(event, original=True, link=link if holds else 0)

    def _holds(self, day: str, generation: int, original: bytes) -> bool:
        """Whether the day's own list of identities, which its manifest names, has an event of these bytes."""
        name = part_file(day, generation, CHUNK, IDENTITIES)
        if name not in self._archive.members:
            return False
        manifest_name = part_file(day, generation, CHUNK, MANIFEST)
        manifest = parse_manifest(self._text(manifest_name), self._path / manifest_name)
        wanted = manifest.artifacts.get(IDENTITIES)
        content = self._archive.content(name)
        if wanted is None or hashlib.sha256(content).hexdigest() != wanted.sha256:
            self._faults.append(f"{name} is not the file that {manifest_name} names")
            return False
        if not (np.frombuffer(content, IDENTITY) == identities([original])[0]).any():
            self._faults.append(f"an event of the case was not in the day {day} as it was signed")
            return False
        return True


def _newest(chain: CheckedChain, day: str, generation: int) -> tuple[Link | None, GenerationState | None]:
    """The newest link that names a generation, and what it says of it."""
    for link in reversed(chain.links_of(day)):
        if link.state is not None and generation in link.state.generations:
            return link, link.state.generations[generation]
    return None, None
