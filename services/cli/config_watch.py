"""Follows one section for a program: its values as plain data, at once and after each change."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from services.common.config.tree import SECTIONS, Live
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.common.config.sections import Base
    from services.common.config.store import ConfigStore

LOOK_S = 1.0


def checked_section(name: str) -> str:
    """The name of a section. Raises UsageError where it is none."""
    if name not in SECTIONS:
        raise UsageError(f"there is no section {name[:80]!r}; there are: {', '.join(SECTIONS)}")
    return name


def lines(
    store: ConfigStore,
    base: Base[Live],
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[dict[str, Any]]:
    """What there is to print, without an end: {"section", "revision", "values"}, each time the values are others.

    What cannot be read later is said once, and the last values stay. Blocks between two lines.

    Raises:
        AppiaError: it cannot be read at the start.
    """
    held = store.read()
    values, told = base.under(held.content.of(base.section)), ""
    yield _line(base, held.revision, values)
    while True:
        sleep(LOOK_S)
        try:
            held, fault = store.read(), ""
            found = base.under(held.content.of(base.section))
        except AppiaError as error:
            found, fault = values, str(error)
        if fault and fault != told:
            say(fault)
        told = fault
        if found != values:
            values = found
            yield _line(base, held.revision, values)


def _line(base: Base[Live], revision: int, values: Live) -> dict[str, Any]:
    return {"section": base.section, "revision": revision, "values": values.model_dump()}
