"""Which days may not go, which are going, and which are gone: `retention.json`, written by the ingester alone.

{"book":{"format":1,"holds":[...],"going":[...],"dropped":[...]},"sha256":HEX}

Canonical JSON (`services/common/canonical.py`) with the SHA-256 of the canonical bytes of `book`: a flipped bit must
not take a hold away. What cannot be read holds everything: nothing is deleted until somebody has looked.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from services.common.canonical import canonical, read_canonical
from services.common.days.names import parse_day
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
MOST_HOLDS = 10_000
MOST_CASE, MOST_WHO, MOST_NOTE = 64, 128, 1000
"""Characters."""
_PART = re.compile(r"(\d{6}/[a-z]{1,32}/\d{6})?")


@dataclass(frozen=True)
class Hold:
    """A day that must stay as it is. `case` tells the holds of one day apart; `since` is ISO 8601, UTC."""

    day: str
    case: str
    who: str
    note: str
    since: str


@dataclass(frozen=True)
class Going:
    """What was decided to go and may not be gone: a day, or `part` of it such as `000001/attack/000001`."""

    day: str
    part: str = ""


@dataclass(frozen=True)
class Dropped:
    """A day that went: when (ISO 8601, UTC), how many events it had, and how many bytes they took."""

    day: str
    when: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Book:
    """Everything that is written down. Immutable."""

    holds: tuple[Hold, ...] = ()
    going: tuple[Going, ...] = ()
    dropped: tuple[Dropped, ...] = ()

    def holds_of(self, day: str) -> tuple[Hold, ...]:
        """The holds on a day."""
        return tuple(hold for hold in self.holds if hold.day == day)

    @property
    def held(self) -> frozenset[str]:
        """The days that are held."""
        return frozenset(hold.day for hold in self.holds)

    @property
    def refused(self) -> frozenset[str]:
        """The days that take no events any more, because they went or are going."""
        going = {one.day for one in self.going if not one.part}
        return frozenset(going | {one.day for one in self.dropped})

    def with_hold(self, hold: Hold) -> Book:
        """The book with one hold more; one of the same day and case is replaced."""
        others = (one for one in self.holds if (one.day, one.case) != (hold.day, hold.case))
        return replace(self, holds=tuple(sorted((*others, hold), key=lambda one: (one.day, one.case))))

    def without_holds(self, gone: tuple[Hold, ...]) -> Book:
        """The book without these holds."""
        return replace(self, holds=tuple(one for one in self.holds if one not in gone))

    def with_going(self, going: Going) -> Book:
        """The book with something that is to go."""
        return self if going in self.going else replace(self, going=(*self.going, going))

    def without_going(self, gone: Going) -> Book:
        """The book without something that was to go."""
        return replace(self, going=tuple(one for one in self.going if one != gone))

    def with_dropped(self, dropped: Dropped) -> Book:
        """The book with a day that went; what was written of it before is replaced."""
        others = (one for one in self.dropped if one.day != dropped.day)
        return replace(self, dropped=tuple(sorted((*others, dropped), key=lambda one: one.day)))


def make_hold(day: str, case: str, who: str, note: str, since: str) -> Hold:
    """A hold as somebody asks for it.

    Raises:
        UsageError: a text is too long or holds what cannot be printed, or the day is none.
    """
    for name, text, most in (("case", case, MOST_CASE), ("who", who, MOST_WHO), ("note", note, MOST_NOTE)):
        if len(text) > most or not text.isprintable():
            raise UsageError(f"The argument {name!r} takes up to {most} printable characters.")
    if not case or not who:
        raise UsageError("A hold needs a case and somebody who asks for it.")
    return Hold(parse_day(day), case, who, note, since)


def to_bytes(book: Book) -> bytes:
    """The book as it lies on disk."""
    plain = {"format": FORMAT, **asdict(book)}
    return canonical({"book": plain, "sha256": hashlib.sha256(canonical(plain)).hexdigest()}) + b"\n"


def read_book(path: Path) -> Book:
    """The book in a file; an empty one where there is none.

    Raises:
        AppiaError: it cannot be read, is damaged, or of a newer release.
    """
    try:
        return parse_book(path.read_bytes())
    except FileNotFoundError:
        return Book()
    except (AppiaError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise AppiaError(
            f"{path} cannot be used ({why}), so no day is dropped, held or released: restore it from a backup, or move "
            "it aside to begin without holds."
        ) from None


def parse_book(data: bytes) -> Book:
    """The book that a file holds.

    Raises:
        AppiaError: it is damaged, or of a newer release; what is wrong, as a clause.
    """
    try:
        return _book(_checked(read_canonical(data.removesuffix(b"\n"))))
    except (TypeError, KeyError, ValueError, AttributeError):
        raise AppiaError("it is no book of this release") from None


def _checked(raw: Any) -> dict[str, Any]:
    plain: dict[str, Any] = raw["book"]
    if type(plain["format"]) is int and plain["format"] > FORMAT:
        raise AppiaError(f"it is of format {plain['format']}, this release knows {FORMAT}")
    if hashlib.sha256(canonical(plain)).hexdigest() != raw["sha256"]:
        raise AppiaError("its checksum does not fit")
    return plain


def _book(plain: dict[str, Any]) -> Book:
    going = tuple(Going(**one) for one in plain["going"])
    if not all(_PART.fullmatch(one.part) for one in going):
        raise ValueError("a part of another form")
    book = Book(
        tuple(Hold(**one) for one in plain["holds"]),
        going,
        tuple(Dropped(**one) for one in plain["dropped"]),
    )
    days = [one.day for one in book.holds] + [one.day for one in going] + [one.day for one in book.dropped]
    for day in days:
        parse_day(day)
    return book
