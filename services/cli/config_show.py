"""Shows the configuration: its keys, its changes, what a change does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.config_taken import Answer
from services.cli.look import Style, Styled
from services.cli.output import print_json, print_lines, print_prose, print_table
from services.common.config.sections import shown, split_key
from services.common.config.tree import SECTIONS
from services.common.settings import AT_START, describe_settings, when_taken

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.cli.config_place import Below
    from services.cli.config_taken import Said
    from services.common.config.document import Change, Document
    from services.common.config.store import Changed
    from services.common.config.tree import Value

NO_VALUE = "-"
_STYLES = {Answer.TAKEN: Style.GOOD, Answer.REFUSED: Style.BAD}


def key_rows(
    document: Document, under: Mapping[str, Below], pinned: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """Every key as plain values: its value, where that is from, and who has it from the environment."""
    live, rows = document.flat(), []
    for section, schema in SECTIONS.items():
        told_by = {row.name: row for row in describe_settings(schema)}
        for key in schema.model_fields:
            told, name = told_by[key], f"{section}.{key}"
            below = under[section].value(told.name)
            rows.append(
                {
                    "key": name,
                    "value": live.get(name, below),
                    "from": "live" if name in live else under[section].origin(told.name),
                    "below": below,
                    "taken": told.changes,
                    "pinned": list(pinned.get(name, ())),
                    "description": told.description,
                }
            )
    return rows


def print_keys(rows: Iterable[Mapping[str, Any]], revision: int) -> None:
    """Print keys as a table, or one of them with all that is known about it."""
    rows = list(rows)
    if len(rows) == 1:
        _print_key(rows[0])
        return
    table = [[row["key"], shown(row["value"]), _from(row), row["taken"]] for row in rows]
    print_table(["key", ">value", "from", "taken up"], table)
    print_lines(f"revision {revision}" if revision else "nothing was ever set")


def _print_key(row: Mapping[str, Any]) -> None:
    print_lines(f"{row['key']} = {shown(row['value'])} ({_from(row)})")
    print_prose(f"{row['description']}; a change is taken up {row['taken']}.")
    if row["from"] == "live":
        print_lines(f"Without the live value: {shown(row['below'])}.")


def _from(row: Mapping[str, Any]) -> Styled:
    if row["pinned"]:
        return Styled(f"environment of {', '.join(row['pinned'])}", Style.DOUBTFUL)
    return Styled(row["from"], Style.HEAD if row["from"] == "live" else None)


def print_difference(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print what differs from files and defaults."""
    table = [
        [row["key"], shown(row["value"]), shown(row["below"]), "environment" if row["pinned"] else ""]
        for row in rows
    ]
    if table:
        print_table(["key", ">live", ">file or default", "but for"], table)
    else:
        print_lines("Nothing differs from files and defaults.")


def change_rows(changed: Changed, under: Mapping[str, Below]) -> list[dict[str, Any]]:
    """What a change does, by key: its value before and after, be it live or from below."""
    if not changed.is_new:
        return []
    change = changed.after.content.changes[-1]
    rows = []
    for name, after in change.after.items():
        section, key = split_key(name)
        below = under[section].value(key)
        before = change.before[name]
        rows.append(
            {
                "key": name,
                "before": below if before is None else before,
                "after": below if after is None else after,
                "taken": when_taken(SECTIONS[section].model_fields[key]),
            }
        )
    return rows


def print_change(rows: Sequence[Mapping[str, Any]], revision: int) -> None:
    """Print what a change does."""
    table = [[row["key"], shown(row["before"]), shown(row["after"]), row["taken"]] for row in rows]
    print_table(["key", ">before", ">after", "taken up"], table)
    print_lines(f"This is revision {revision}.")


def print_said(said: Sequence[Said], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what services said about a change."""
    for one in said:
        why = f": {one.why}" if one.why else ""
        print_prose(Styled(f"{one.service} {one.answer}{why}", _STYLES.get(one.answer)))
        pinned = [row["key"] for row in rows if row["key"] in one.pinned]
        if pinned:
            print_prose(f"  but its environment says {', '.join(pinned)}, and wins")
    if said and any(row["taken"] == AT_START for row in rows):
        later = ", ".join(row["key"] for row in rows if row["taken"] == AT_START)
        print_prose(f"{later}: in use from the next start on.")
    if not said:
        print_lines("No service runs that this is for: it is read at the next start.")


def print_history(changes: Sequence[Change], *, as_json: bool) -> None:
    """Print changes, the newest first."""
    newest_first = list(reversed(changes))
    if as_json:
        print_json({"changes": [change.model_dump() for change in newest_first]})
        return
    if not newest_first:
        print_lines("Nothing was ever set.")
        return
    rows = [
        [change.revision, change.at, change.who, told, change.why if first else ""]
        for change in newest_first
        for first, told in _told(change)
    ]
    print_table([">revision", "when", "who", "~what", "~why"], rows)


def _told(change: Change) -> Iterable[tuple[bool, str]]:
    for number, (key, after) in enumerate(change.after.items()):
        yield number == 0, f"{key} {_or_none(change.before[key])} -> {_or_none(after)}"


def _or_none(value: Value | None) -> str:
    return NO_VALUE if value is None else shown(value)
