"""Proves a range of days in one or several copies of a state directory, against their one chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.chain.check import check_chain
from services.common.chain.store import read_lines
from services.common.days.proof import DayProof, prove_day
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from services.common.chain.check import CheckedChain
    from services.common.chain.keys import PublicKey
    from services.common.days.names import StateNames

_LOOKS = 4
_PAUSE_S = 0.25


@dataclass(frozen=True)
class Proven:
    """The chain, and the proof of each day."""

    chain: CheckedChain
    days: dict[str, DayProof]


@dataclass(frozen=True)
class Prover:
    """What days are proved with."""

    folders: Sequence[StateNames]
    trusted: PublicKey | None  # without one, the chain is compared with nothing but itself
    sleep: Callable[[float], None]
    contents: bool = True  # whether generations that are not served are read whole, see `prove_day`

    def read(self) -> CheckedChain:
        """The chain of all folders: the longest there is, of which any other has to be the beginning.

        Raises:
            AppiaError: two folders have chains that part.
        """
        read = [(names.links, read_lines(names.links)[0]) for names in self.folders]
        path, longest = max(read, key=lambda one: len(one[1]))
        for other, lines in read:
            if lines != longest[: len(lines)]:
                raise AppiaError(f"{other} and {path} are not of one chain: verify these folders one by one.")
        return check_chain(longest, self.trusted)

    def days(self, chain: CheckedChain, first: str, last: str) -> list[str]:
        """The days from `first` to `last` that a link is about, or that a folder has sealed."""
        found = {day for names in self.folders for day in names.days() if names.day(day).generations()}
        return sorted(day for day in found | chain.days.keys() if first <= day <= last)

    def prove(self, first: str, last: str) -> Proven:
        """Prove the days from `first` to `last`. What seems wrong is looked at again: it may be sealed at this moment.

        Raises:
            AppiaError: two folders have chains that part.
        """
        chain = self.read()
        proofs = {day: self._prove(day, chain) for day in self.days(chain, first, last)}
        for _ in range(_LOOKS - 1):
            wrong = [day for day, proof in proofs.items() if proof.faults]
            if not wrong:
                break
            self.sleep(_PAUSE_S)
            chain = self.read()
            proofs |= {day: self._prove(day, chain) for day in wrong}
        return Proven(chain, proofs)

    def _prove(self, day: str, chain: CheckedChain) -> DayProof:
        if not chain.links:
            return DayProof(day, 0, ())  # what is wrong with the chain says it all
        folders = [names.day(day) for names in self.folders]
        return prove_day(day, folders, chain, contents=self.contents)


def faults_of_chain(chain: CheckedChain, folders: Sequence[StateNames], head: str | None) -> Iterator[str]:
    """What is wrong with the chain itself, one sentence each."""
    yield from (fault.sentence for fault in chain.faults)
    paths = _paths(folders)
    if not chain.links and not chain.faults:
        yield f"there is no chain ({paths}): nothing of these days was signed, or it was taken away"
    elif head is not None and head not in {link.digest for link in chain.links}:
        yield (
            f"no link has the digest {head}, which you noted: the end of the chain was cut off since, or it is another "
            f"chain ({paths})"
        )


def _paths(folders: Sequence[StateNames]) -> str:
    paths: list[Path] = [names.links for names in folders]
    return ", ".join(map(str, paths))
