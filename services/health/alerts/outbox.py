"""Messages on their way: in order on each channel, again after a failure, given up after seven days. Pure functions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from services.health.alerts.severity import LEVELS
from services.health.alerts.state import MOST_PAST, Kept, Letter, Line, Sent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_NS = 1_000_000_000
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0
GIVEN_UP_AFTER_S = 7 * 86_400
OVERTAKEN_AFTER_S = 3600
"""A message that failed for so long may be refused for what is in it: those behind it are tried too."""
MOST_WAITING = 1000
"""Messages that wait for one channel; reminders are not made while another of their group waits."""
AT_ONCE = 20
"""Messages of one channel that are handed over in one go."""


@dataclass(frozen=True)
class Parcel:
    """Messages for one channel, in the order in which they are to be sent.

    Attributes:
        letters: at most `AT_ONCE`.
        overtakable: ids of those after whose failure the next is tried.
    """

    channel: str
    letters: tuple[Letter, ...]
    overtakable: frozenset[str]


def post(kept: Kept, letters: Iterable[Letter]) -> Kept:
    """Take messages in.

    A reminder is left out while a message of its group waits. Where there is no room, the oldest of the least severity
    is given up.
    """
    waiting = list(kept.letters)
    lines = dict(kept.lines)
    for letter in letters:
        same = [other for other in waiting if other.channel == letter.channel]
        if letter.reminds and any(other.group == letter.group for other in same):
            continue
        if len(same) >= MOST_WAITING:
            least = min((*same, letter), key=lambda other: LEVELS.index(other.severity))
            waiting = [other for other in (*waiting, letter) if other.id != least.id]
            line = lines.get(letter.channel, Line())
            lines[letter.channel] = line.model_copy(update={"lost": line.lost + 1})
            continue
        waiting.append(letter)
    return kept.model_copy(update={"letters": tuple(waiting), "lines": lines})


def due(kept: Kept, channels: Collection[str], now_ns: int) -> tuple[Parcel, ...]:
    """What is to be sent now, by channel."""
    ready = {name for name in channels if _may_try(kept.lines.get(name, Line()), now_ns)}
    letters = sorted((x for x in kept.letters if x.channel in ready), key=lambda letter: letter.channel)
    return tuple(
        _parcel(tuple(own)[:AT_ONCE], kept.lines.get(channel, Line()).lost, now_ns)
        for channel, own in groupby(letters, key=lambda letter: letter.channel)
    )


def _may_try(line: Line, now_ns: int) -> bool:
    """Whether a channel's pause is over; a clock that was set back makes none longer than it may be."""
    return now_ns >= line.next_ns or line.next_ns - now_ns > LONGEST_PAUSE_S * _NS


def _parcel(letters: tuple[Letter, ...], lost: int, now_ns: int) -> Parcel:
    old = frozenset(x.id for x in letters if x.tries and now_ns - x.made_ns > OVERTAKEN_AFTER_S * _NS)
    first, *others = letters
    if lost:
        told = f"{first.body}\n{lost:,} before this were given up; `appia alerts history` has them."
        first = first.model_copy(update={"body": told})
    return Parcel(first.channel, (first, *others), old)


def next_due_ns(kept: Kept, channels: Collection[str]) -> int | None:
    """When something is to be sent next; None: nothing waits."""
    waiting = {letter.channel for letter in kept.letters} & set(channels)
    return min((kept.lines.get(name, Line()).next_ns for name in waiting), default=None)


def delivered(kept: Kept, letter: Letter, now_ns: int) -> Kept:
    """A message arrived. Where it overtook another, the channel's pause stays: the other is tried again after it."""
    first = next((x for x in kept.letters if x.channel == letter.channel), letter)
    line = kept.lines.get(letter.channel, Line()) if first.id != letter.id else Line()
    line = line.model_copy(update={"delivered_ns": now_ns, "lost": 0})
    sent = _sent(letter, now_ns, delivered=True, why="")
    return _without(kept, letter, sent).model_copy(update={"lines": {**kept.lines, letter.channel: line}})


def failed(kept: Kept, letter: Letter, why: str, now_ns: int) -> Kept:
    """A message did not arrive: its channel is left alone for a while, twice as long each time."""
    line = kept.lines.get(letter.channel, Line())
    pause_s = min(2 * line.pause_s, LONGEST_PAUSE_S) or FIRST_PAUSE_S
    after = line.model_copy(
        update={
            "failing_since_ns": line.failing_since_ns or now_ns,
            "failed_ns": now_ns,
            "next_ns": now_ns + int(pause_s * _NS),
            "pause_s": pause_s,
            "why": why,
        }
    )
    letters = (x.model_copy(update={"tries": x.tries + 1}) if x.id == letter.id else x for x in kept.letters)
    return kept.model_copy(update={"letters": tuple(letters), "lines": {**kept.lines, letter.channel: after}})


def without_pause(kept: Kept, channels: Iterable[str]) -> Kept:
    """Channels that failed are tried again at once."""
    lines = {
        name: kept.lines[name].model_copy(update={"next_ns": 0, "pause_s": 0})
        for name in channels
        if name in kept.lines
    }
    return kept.model_copy(update={"lines": {**kept.lines, **lines}})


def give_up(kept: Kept, now_ns: int) -> tuple[Kept, Mapping[str, int]]:
    """Take out what is older than seven days; gives how many messages that were, by channel."""
    old = [x for x in kept.letters if now_ns - x.made_ns > GIVEN_UP_AFTER_S * _NS]
    for letter in old:
        line = kept.lines.get(letter.channel, Line())
        sent = _sent(letter, now_ns, delivered=False, why=line.why)
        lost = line.model_copy(update={"lost": line.lost + 1})
        kept = _without(kept, letter, sent).model_copy(update={"lines": {**kept.lines, letter.channel: lost}})
    return kept, Counter(letter.channel for letter in old)


def _without(kept: Kept, letter: Letter, sent: Sent) -> Kept:
    letters = tuple(x for x in kept.letters if x.id != letter.id)
    return kept.model_copy(update={"letters": letters, "sent": (*kept.sent, sent)[-MOST_PAST:]})


def _sent(letter: Letter, now_ns: int, *, delivered: bool, why: str) -> Sent:
    return Sent(
        id=letter.id,
        channel=letter.channel,
        title=letter.title,
        made_ns=letter.made_ns,
        ended_ns=now_ns,
        tries=letter.tries + 1 if delivered else letter.tries,
        delivered=delivered,
        why=why,
    )
