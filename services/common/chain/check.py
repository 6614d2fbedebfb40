"""Checks a chain: whether every link follows the one before, and was signed by the key in force then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.common.chain.link import BEGIN, FIRST_PREVIOUS, KEY, PURPOSE, Link, read_link
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.common.chain.keys import PublicKey
    from services.common.chain.state import DayState


@dataclass(frozen=True)
class Fault:
    """Something wrong with a chain: the number of the link, and a sentence that names it too."""

    link: int
    sentence: str


@dataclass(frozen=True)
class CheckedChain:
    """What a chain says, and what is wrong with it. `links` are those that can be relied on, in order."""

    links: tuple[Link, ...] = ()
    faults: tuple[Fault, ...] = ()
    keys: tuple[PublicKey, ...] = ()  # that signed, oldest first
    days: Mapping[str, tuple[Link, ...]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        """The digest of the last link; empty where there is none. Noted elsewhere, it shows when the end is cut off."""
        return self.links[-1].digest if self.links else ""

    def links_of(self, day: str) -> tuple[Link, ...]:
        """The links about a day, oldest first."""
        return self.days.get(day, ())

    def state_of(self, day: str) -> DayState | None:
        """The day as its last link has it; None for a day that no link is about."""
        links = self.links_of(day)
        return links[-1].state if links else None

    def excerpt(self, days: Iterable[str]) -> tuple[Link, ...]:
        """The links about some days and all about keys, in order: what shows others what was signed of them."""
        wanted = {"", *days}
        return tuple(link for link in self.links if link.day in wanted)


def check_chain(lines: Sequence[bytes], trusted: PublicKey | None, *, excerpt: bool = False) -> CheckedChain:
    """Check a chain from its first line; some thousand links a second.

    Args:
        lines: as they lie on disk, without line feeds.
        trusted: a key that the chain has to have been signed by at some time. Without one a chain vouches for nothing
            but itself.
        excerpt: the lines are what `CheckedChain.excerpt` gives: links between them may be absent. Then nothing shows
            that what older keys signed leads up to `trusted`, so only what it signed itself and later keys count.
    """
    walk = ChainWalk(trusted, excerpt=excerpt)
    walk.take(lines)
    return walk.result()


class ChainWalk:
    """Checks a chain as it grows."""

    def __init__(self, trusted: PublicKey | None, *, excerpt: bool = False) -> None:
        """Stand before the first link."""
        self._trusted = trusted
        self._excerpt = excerpt
        self._number = 0  # of the last link
        self._before = FIRST_PREVIOUS  # its digest; empty where it cannot be relied on
        self._unread: list[str] = []  # why each line since then is no link
        self._unbroken = 0  # links from here on follow each other
        self._force: PublicKey | None = None
        self._keys: list[PublicKey] = []
        self._links: list[Link] = []
        self._faults: list[Fault] = []

    def take(self, lines: Iterable[bytes]) -> None:
        """Check the lines that follow."""
        for line in lines:
            try:
                link = read_link(line)
            except AppiaError as error:
                self._unread.append(str(error))
                continue
            if self._takes_its_place(link):
                is_sound = self._judge(link)
                self._before, self._number = link.digest if is_sound else "", link.number

    def result(self) -> CheckedChain:
        """What was found so far."""
        faults = [*self._faults, *self._faults_of_unread(len(self._unread))]
        if self._trusted is not None and self._trusted not in self._keys:
            known = ", ".join(key.id for key in self._keys) or "none that can be read"
            sentence = f"the chain was never signed with the key {self._trusted.id}; its keys: {known}"
            return CheckedChain(faults=(*faults, Fault(0, sentence)) if self._number or faults else ())
        days: dict[str, list[Link]] = {}
        for link in self._links:
            if link.day:
                days.setdefault(link.day, []).append(link)
        by_day = {day: tuple(links) for day, links in days.items()}
        return CheckedChain(tuple(self._links), tuple(faults), tuple(self._keys), by_day)

    def _takes_its_place(self, link: Link) -> bool:
        """Whether a link comes where its number says; notes what is missing before it, or that it does not follow."""
        skipped = link.number - self._number - 1
        if skipped < 0:
            self._fault(
                link.number, f"link {link.number} comes after link {self._number}: it was put in there"
            )
            return False
        had_unread = bool(self._unread)
        self._faults += self._faults_of_unread(skipped)
        missing = 0 if self._excerpt else skipped - len(self._unread)
        self._unread = []
        if missing > 0:
            first, last = link.number - missing, link.number - 1
            are = f"link {first} is" if first == last else f"links {first} to {last} are"
            self._fault(first, f"{are} missing")
        elif (
            self._before
            and not had_unread
            and link.previous != self._before
            and not (self._excerpt and skipped)
        ):
            sentence = f"link {link.number} does not follow link {link.number - 1}: one of them was replaced"
            self._fault(link.number, sentence)
        if link.previous != self._before or skipped:
            self._unbroken = len(self._links)
        return True

    def _faults_of_unread(self, skipped: int) -> list[Fault]:
        """Lines that are no links: as many as are missing stand for these, more were put in."""
        after = self._number
        return [
            Fault(after + n + 1, f"link {after + n + 1} was altered: {why}")
            if n < skipped
            else Fault(after, f"a line after link {after} was put in: {why}")
            for n, why in enumerate(self._unread)
        ]

    def _judge(self, link: Link) -> bool:
        """Whether a link was signed by the key in force; only then it counts."""
        key = self._key_for(link)
        if key is None:
            force = "" if self._force is None else f", and {self._force.id} is in force"
            return self._fault(link.number, f"link {link.number} is signed with the key {link.key_id}{force}")
        if not link.signed_by(key):
            return self._fault(link.number, f"link {link.number} was altered: its signature does not hold")
        new = link.public if link.what == KEY else None
        if new is not None and not new.signed(PURPOSE, link.body, link.countersignature):
            return self._fault(link.number, f"link {link.number} was altered: the new key did not sign it")
        for taken in (key, new):
            if taken is not None and taken != self._force:
                self._take_key(taken)
        self._links.append(link)
        return True

    def _key_for(self, link: Link) -> PublicKey | None:
        if link.what == BEGIN:
            return link.public
        given = self._trusted
        if given is not None and given.id == link.key_id and given not in self._keys:
            return given  # the link that brought it cannot be read; what it signed from here on counts
        return self._force if self._force is not None and self._force.id == link.key_id else None

    def _take_key(self, key: PublicKey) -> None:
        """A key comes into force. Where it is the one given, what was signed before has to lead up to it unbroken."""
        self._force = key
        self._keys.append(key)
        if key == self._trusted:
            del self._links[: self._unbroken]

    def _fault(self, number: int, sentence: str) -> bool:
        self._faults.append(Fault(number, sentence))
        return False
