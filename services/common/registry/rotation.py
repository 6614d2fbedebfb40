"""The steps in which a key that several machines hold is replaced."""

from __future__ import annotations

from enum import StrEnum


class Rotation(StrEnum):
    """After each step the file goes to every machine, before the next one."""

    ADD = "add"
    USE = "use"
    DROP = "drop"
