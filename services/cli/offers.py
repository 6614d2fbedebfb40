"""What a shell may offer for options that take names; whatever else is typed is checked by whoever uses it.

What knows the names is loaded when a shell asks, so that `appia --help` starts quickly.
"""

from __future__ import annotations

from pathlib import Path

import typer  # noqa: TC002 - typer reads the annotations

from services.common.events.known_names import PROTOCOL_NAMES


def protocols() -> list[str]:
    """Protocols that have a name here."""
    return [name.lower() for name in PROTOCOL_NAMES.values()]


def sources() -> list[str]:
    """Which detector may have decided."""
    from services.common.days.metadata import SOURCES  # noqa: PLC0415 - see above

    return list(SOURCES)


def said() -> list[str]:
    """What the filter by feedback takes."""
    from services.rag.feedback import FEEDBACK  # noqa: PLC0415 - as above

    return list(FEEDBACK)


def formats() -> list[str]:
    """The formats that `appia feed` reads."""
    from services.feed.readers import READERS  # noqa: PLC0415 - as above

    return list(READERS)


def indices() -> list[str]:
    """The indices of a day."""
    from services.common.days.names import INDICES  # noqa: PLC0415 - as above

    return list(INDICES)


def parts() -> list[str]:
    """What of a sealed day can be repaired."""
    from services.common.days.consistency import PARTS  # noqa: PLC0415 - as above

    return list(PARTS)


def config_keys() -> list[str]:
    """Keys of the live configuration."""
    from services.common.config.sections import known_keys  # noqa: PLC0415 - as above

    return known_keys()


def config_assignments() -> list[str]:
    """Keys of the live configuration, before a value."""
    return [f"{key}=" for key in config_keys()]


def config_sections() -> list[str]:
    """Sections of the live configuration."""
    from services.common.config.tree import SECTIONS  # noqa: PLC0415 - as above

    return list(SECTIONS)


def days(context: typer.Context) -> list[str]:
    """The days of the state directory that was typed already, or that the environment names; the newest first."""
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above

    given = context.params.get("state")
    states = given if isinstance(given, list | tuple) else [given] if given else []  # several for `verify`
    return sorted({day for state in states for day in StateNames(Path(state)).days()}, reverse=True)
