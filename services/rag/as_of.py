"""Names exactly what could be seen at a moment, in a short text: `as_of` of every receipt, and of requests.

    as_of   := ("nothing" | day (" " day)*) [" remarks=" number] [" decisions=" [number ".."] number]
               [" now=" time] [" #" check]
    day     := date [".." date] [":" generation version*] segment*
    version := letter number      of an index; 1 where none is named, 0 where the index was not there
    segment := "+" number "=" rows committed*
    committed := letter number    rows of an index, where they differ from those of the events
    letter  := "a" attack | "s" semantic | "t" temporal | "e" entity
    date    := 2026-01-22, or 22 in the month of the date before

`2026-01-20..24:1 25:2a3+4=785`: five days of generation 1; one of generation 2 with version 3 of `attack`, and 785
rows of its open segment 4. `remarks` is how many remarks of analysts there were, `decisions` how many decisions of
firewalls had come (`4096..9000`: those before number 4096 had been removed), `now` when a question in words was
asked whose times are relative to that. The check, 12 hexadecimal digits, differs where the content does. See
docs/receipts.md.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from services.common.days.names import EVENT_INDICES, INDICES
from services.common.days.open_reader import written_rows
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from services.common.days.view import SegmentView

NOTHING = "nothing"
MAX_DAYS = 4000
MAX_TEXT = 32_768
EXAMPLE = "2026-01-20..24:1 25+1=7853"

_LETTERS = {"attack": "a", "semantic": "s", "temporal": "t", "entity": "e"}
_NAMES = {letter: name for name, letter in _LETTERS.items()}
_MORE = re.compile(
    r"remarks=(?P<remarks>\d{1,12})|decisions=(?:(?P<first>\d{1,15})\.\.)?(?P<end>\d{1,15})|"
    r"now=(?P<now>[0-9T:.Z-]{10,40})|#(?P<check>[0-9a-f]{12})",
    re.ASCII,
)
_DATE = r"(?:\d{4}-\d\d-)?\d\d"
_DAY = re.compile(
    rf"({_DATE})(?:\.\.({_DATE}))?(?::(\d{{1,6}})((?:[aste]\d{{1,6}})*))?((?:\+\d{{1,6}}=\d{{1,12}}(?:[ast]\d{{1,12}})*)*)",
    re.ASCII,
)
_SEGMENT = re.compile(r"\+(\d+)=(\d+)([ast\d]*)", re.ASCII)
_NUMBER = re.compile(r"([aste])(\d+)", re.ASCII)


@dataclass(frozen=True)
class OpenPart:
    """What could be seen of an open segment: its rows, and those of each index."""

    number: int
    rows: int
    written: Mapping[str, int]


@dataclass(frozen=True)
class DayPart:
    """What could be seen of a day: a generation (0 for none) with the versions of its indices, and open segments."""

    day: str
    generation: int = 0
    versions: Mapping[str, int] = field(default_factory=dict)
    segments: tuple[OpenPart, ...] = ()


@dataclass(frozen=True)
class Moment:
    """What could be seen: days, ascending, and how many remarks of analysts.

    `now` is when the question was asked, where that counts. The check is None where who asks gave none.
    """

    days: tuple[DayPart, ...]
    remarks: int = 0
    now: str | None = None
    check: str | None = None
    decisions: tuple[int, int] = (0, 0)  # of firewalls: the first that was kept, the next after the last

    @classmethod
    def of(
        cls, views: Sequence[SegmentView], remarks: int = 0, decisions: tuple[int, int] = (0, 0)
    ) -> Moment:
        """What these views show, ordered by day, the sealed one of a day first."""
        by_day: dict[str, list[SegmentView]] = {}
        for view in views:
            by_day.setdefault(view.day, []).append(view)
        check = check_of(views) if views else None
        return cls(tuple(_part(day, by_day[day]) for day in sorted(by_day)), remarks, None, check, decisions)

    def to_text(self) -> str:
        """As a receipt has it."""
        words = list(_words(self.days)) or [NOTHING]
        words += [f"remarks={self.remarks}"] if self.remarks else []
        first, end = self.decisions
        words += [f"decisions={first}..{end}" if first else f"decisions={end}"] if end > first else []
        words += [f"now={self.now}"] if self.now else []
        words += [f"#{self.check}"] if self.check else []
        return " ".join(words)


def check_of(views: Iterable[SegmentView]) -> str:
    """12 hexadecimal digits that differ where the content does."""
    known = "".join(f"{view.day} {view.name} {view.identity}\n" for view in views)
    return hashlib.blake2b(known.encode(), digest_size=6).hexdigest()


def read_moment(text: str) -> Moment:
    """What an `as_of` names.

    Raises:
        UsageError: it is none.
    """
    words = text.split()
    more: dict[str, str] = {}
    while words and (match := _MORE.fullmatch(words[-1])):
        more.update({name: value for name, value in match.groupdict().items() if value})
        words.pop()
    days = () if words == [NOTHING] else tuple(_read_days(words))
    decisions = int(more.get("first", 0)), int(more.get("end", 0))
    if decisions[0] > decisions[1]:
        raise _wrong(f"the decisions of firewalls {decisions[0]}..{decisions[1]} are none")
    return Moment(days, int(more.get("remarks", 0)), more.get("now"), more.get("check"), decisions)


def _read_days(words: Sequence[str]) -> list[DayPart]:
    days: list[DayPart] = []
    for word in words:
        try:
            days += _read_word(word, days[-1].day if days else "")
        except ValueError:
            raise _wrong(f"{word[:60]!r} is no part of one") from None
        if len(days) > MAX_DAYS:
            raise _wrong(f"it names more than {MAX_DAYS} days")
    if not days or any(one.day >= after.day for one, after in pairwise(days)):
        raise _wrong("its days must ascend" if days else "it names no day")
    return days


def says_when(answer: Mapping[str, Any]) -> bool:
    """Whether filters of time were understood from words, which may be relative to the moment of asking."""
    understood = answer.get("understood")
    return isinstance(understood, dict) and not {"since", "until", "days"}.isdisjoint(
        understood.get("filters", ())
    )


def with_now(as_of: str, now: str) -> str:
    """An `as_of` that also names the moment of asking, ISO 8601."""
    return replace(read_moment(as_of), now=now).to_text()


def _wrong(why: str) -> UsageError:
    return UsageError(
        f"The argument 'as_of' must be what the 'as_of' of a receipt says, such as {EXAMPLE!r}: {why}."
    )


def _part(day: str, views: Sequence[SegmentView]) -> DayPart:
    generation, versions = 0, {}
    segments = []
    for view in views:
        if view.sealed:
            generation, versions = view.generation, dict(view.versions)
        else:
            number = int(view.name.removeprefix("open-"))
            segments.append(OpenPart(number, view.rows, written_rows(view)))
    return DayPart(day, generation, versions, tuple(segments))


def _words(days: Sequence[DayPart]) -> Iterator[str]:
    """Days one after the other, those that follow each other with equal content as a range."""
    before, at = "", 0
    while at < len(days):
        first, end = days[at], at + 1
        while end < len(days) and _continues(days[end - 1], days[end]):
            end += 1
        last = days[end - 1]
        word = _short(first.day, before)
        if last is not first:
            word += f"..{_short(last.day, first.day)}"
        yield word + _content(first)
        before, at = last.day, end


def _continues(one: DayPart, after: DayPart) -> bool:
    alike = (one.generation, one.versions) == (after.generation, after.versions)
    plain = not one.segments and not after.segments
    return alike and plain and date.fromisoformat(one.day) + timedelta(1) == date.fromisoformat(after.day)


def _short(day: str, before: str) -> str:
    return day[8:] if day[:8] == before[:8] else day


def _content(part: DayPart) -> str:
    text = ""
    if part.generation:
        numbers = {name: part.versions.get(name, 0) for name in INDICES}
        text = f":{part.generation}{_numbers(numbers, 1)}"
    for segment in part.segments:
        text += f"+{segment.number}={segment.rows}{_numbers(segment.written, segment.rows)}"
    return text


def _numbers(numbers: Mapping[str, int], usual: int) -> str:
    return "".join(f"{_LETTERS[name]}{number}" for name, number in numbers.items() if number != usual)


def _read_word(word: str, before: str) -> list[DayPart]:
    """The days that a word names. Raises `ValueError` where it is none."""
    match = _DAY.fullmatch(word)
    if match is None or not (match[3] or match[5]):
        raise ValueError(word)
    first = _full(match[1], before)
    last = _full(match[2], first.isoformat()) if match[2] else first
    days = (last - first).days + 1
    if not 0 < days <= MAX_DAYS + 1 or (days > 1 and match[5]):
        raise ValueError(word)
    generation = int(match[3] or 0)
    given = _given(match[4] or "")
    versions = {name: given.get(name, 1) for name in INDICES if given.get(name, 1)} if generation else {}
    if match[3] and not generation:
        raise ValueError(word)
    segments = tuple(_open_part(*found) for found in _SEGMENT.findall(match[5]))
    if any(one.number >= after.number for one, after in pairwise(segments)):
        raise ValueError(word)
    return [DayPart((first + timedelta(n)).isoformat(), generation, versions, segments) for n in range(days)]


def _full(text: str, before: str) -> date:
    return date.fromisoformat(text if len(text) > 2 else before[:8] + text)


def _open_part(number: str, rows: str, written: str) -> OpenPart:
    given = _given(written)
    return OpenPart(int(number), int(rows), {name: given.get(name, int(rows)) for name in EVENT_INDICES})


def _given(text: str) -> dict[str, int]:
    return {_NAMES[letter]: int(number) for letter, number in _NUMBER.findall(text)}
