"""What the commands of `appia config` do: read with what lies below, change, and wait for the services."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.cli.config_place import below, open_config
from services.cli.config_show import change_rows, key_rows, print_change, print_said
from services.cli.config_taken import KINDS, Answer, services_say, wait_for_all
from services.cli.output import print_json, print_lines
from services.cli.waiting import waiting_shown
from services.common.config.document import same, values_at
from services.common.config.sections import split_key
from services.common.config.tree import SECTIONS
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.cli.config_taken import Said
    from services.common.config.document import Author, Document
    from services.common.config.store import Changed, Place
    from services.common.config.tree import Value
    from services.common.values.checked import Held

    Edit = Callable[[Document], Mapping[str, Value | None]]


@dataclass(frozen=True)
class Wish:
    """What is wanted beside the values: who, how long to wait (seconds), to begin anew, and to print JSON."""

    author: Author
    wait_s: float
    anew: bool
    as_json: bool


def read_rows(place: Place) -> tuple[Held[Document], list[dict[str, Any]]]:
    """The configuration, and every key with what lies below it. Blocks for the store and the registry.

    Raises:
        AppiaError: it cannot be read.
    """
    held = open_config(place).read()
    return held, key_rows(held.content, below(place), _pinned(place))


def chosen(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of these keys and sections; all where there are none.

    Raises:
        UsageError: there is no such key.
    """
    for name in names:
        if name not in SECTIONS:
            split_key(name)
    return [row for row in rows if not names or row["key"] in names or row["key"].partition(".")[0] in names]


def differing(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows whose value is another than that of file or default."""
    return [row for row in rows if not same(row["value"], row["below"])]


def going_back(revision: int | None) -> Edit:
    """The edit that goes back to a revision; None for the one before the newest."""

    def edit(document: Document) -> dict[str, Value | None]:
        then = values_at(document, _before(document) if revision is None else revision)
        return {**dict.fromkeys(document.flat()), **then}

    return edit


def change(place: Place, wish: Wish, edit: Edit) -> None:
    """Make a change, show it, and wait for the services that it is for.

    Raises:
        UsageError: it is not allowed; nothing is changed.
        AppiaError: it cannot be made; or a service refuses it, or says nothing in time.
    """
    changed = open_config(place).change(edit, wish.author, anew=wish.anew)
    rows = change_rows(changed, below(place))
    if not wish.as_json:
        _show(changed, rows)
    said = _wait(place, rows, changed, wish.wait_s)
    if wish.as_json:
        told = [one.as_dict() for one in said]
        print_json({"revision": changed.after.revision, "changed": rows, "services": told})
    elif wish.wait_s and changed.is_new:
        print_said(said, rows)
    _refuse_unless_taken(said, changed.after.revision, wish.wait_s)


def _show(changed: Changed, rows: Sequence[Mapping[str, Any]]) -> None:
    if changed.is_new:
        print_change(rows, changed.after.revision)
    else:
        print_lines("Nothing to change: these are the values already.")
    sys.stdout.flush()


def _wait(place: Place, rows: Sequence[Mapping[str, Any]], changed: Changed, seconds: float) -> list[Said]:
    if not seconds or not changed.is_new:
        return []
    sections = {str(row["key"]).partition(".")[0] for row in rows}
    with waiting_shown("waiting for services to take it", seconds):
        return wait_for_all(lambda: services_say(place, sections, changed.after.revision), seconds)


def _refuse_unless_taken(said: Sequence[Said], revision: int, seconds: float) -> None:
    refused = [one.service for one in said if one.answer is Answer.REFUSED]
    late = [one.service for one in said if one.answer in (Answer.SILENT, Answer.TRYING)]
    if refused:
        raise AppiaError(
            f"{', '.join(refused)} refused revision {revision} and goes on with the last good one: "
            "`appia config rollback` takes it back for all"
        )
    if late:
        raise AppiaError(
            f"{', '.join(late)} did not say within {seconds:g} s that it took revision {revision}"
        )


def _before(document: Document) -> int:
    if not document.changes:
        raise UsageError("nothing was ever set, so there is nothing to go back to")
    return document.changes[-1].revision - 1


def _pinned(place: Place) -> dict[str, list[str]]:
    """Which services have a key from their environment, as far as they say so."""
    found: dict[str, list[str]] = {}
    with suppress(AppiaError):  # without a registry the values are known all the same
        for said in services_say(place, KINDS, 0):
            for key in said.pinned:
                found.setdefault(key, []).append(said.service)
    return found
