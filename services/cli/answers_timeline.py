"""The answer of `timeline` as text for people: changes first, then hour by hour with what was idle folded."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from services.cli.look import Style, Styled
from services.cli.output import counted, print_prose, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_COLUMNS = [
    "hour (UTC)",
    "",
    ">out",
    ">in",
    ">bytes",
    ">peers",
    ">new",
    ">ports",
    ">matter",
    "!~services",
    "!~mostly with",
]
_HOUR = timedelta(hours=1)
_SERVICES = 2
CHANGED = "*"


def show_timeline(answer: Mapping[str, Any]) -> None:
    """What a host did: in all, where it changed, and hour by hour."""
    hours, total = answer["hours"], answer["total"]
    if not hours:
        print_prose(f"Nothing of {answer['host']} was found.")
        return
    print_prose(
        f"{answer['host']}: {counted(total['out'], 'event')} begun and {total['in']:,} received, "
        f"{_size(total['bytes'])}, with {counted(total['peers'], 'host')}; active in "
        f"{answer['active_hours']:,} of {counted(answer['watched_hours'], 'hour')} that were watched"
    )
    _show_changes(answer)
    print_table(_COLUMNS, [*_rows(hours, answer["changes"])])
    if answer["active_hours"] > len(hours):
        print_prose(
            f"shown are the last {len(hours):,} of {answer['active_hours']:,} hours: see --from and --to"
        )


def _show_changes(answer: Mapping[str, Any]) -> None:
    changes = answer["changes"]
    if not changes:
        print_prose("No change was found.")
        return
    print_prose(f"{counted(answer['changed'], 'change')}:")
    if answer["changed"] > len(changes):
        print_prose(f"  ... of which the last {len(changes):,} are shown")
    for change in changes:
        print_prose(f"  {_span(change)}  {change['sentence']}", f"    see event {change['event_id']}")


def _span(change: Mapping[str, Any]) -> str:
    first, after = _moment(change["from"]), _moment(change["to"])
    if after - first == _HOUR:
        return f"{first:%Y-%m-%d %H:%M}"
    return f"{first:%Y-%m-%d %H:%M} to {after:%Y-%m-%d %H:%M}"


def _rows(hours: Sequence[Mapping[str, Any]], changes: Sequence[Mapping[str, Any]]) -> Iterator[list[object]]:
    """A line an hour; one for all idle hours between two."""
    changed = [(_moment(change["from"]), _moment(change["to"])) for change in changes]
    before: datetime | None = None
    for hour in hours:
        at = _moment(hour["hour"])
        idle = 0 if before is None else (at - before) // _HOUR - 1
        if idle:
            yield [f"  {counted(idle, 'idle hour')}", *[""] * (len(_COLUMNS) - 1)]
        mark = Styled(CHANGED, Style.DOUBTFUL) if any(first <= at < after for first, after in changed) else ""
        yield [f"{at:%Y-%m-%d %H:%M}", mark, *_cells(hour)]
        before = at


def _cells(hour: Mapping[str, Any]) -> list[object]:
    met = hour["most_met"][0]["address"]
    others = hour["peers"] - 1
    return [
        f"{hour['out']:,}",
        f"{hour['in']:,}",
        _size(hour["bytes"]),
        f"{hour['peers']:,}",
        f"{hour['new_peers']:,}",
        f"{hour['ports']:,}",
        Styled(f"{hour['matters']:,}", Style.BAD if hour["matters"] else None),
        ", ".join(
            f"{one['side']} {one['service']} {one['events']:,}" for one in hour["services"][:_SERVICES]
        ),
        f"{met} and {others:,} more" if others else met,
    ]


def _size(count: float) -> str:
    from services.common.events.profile_words import size_words  # noqa: PLC0415 - it takes numpy along

    return size_words(count)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
