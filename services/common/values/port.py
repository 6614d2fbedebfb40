"""The port of a small store of named values, which are changed by comparing first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.common.errors import AppiaError, UsageError
from services.common.registry.port import check_label
from services.common.sealed import MAX_SEALED_BYTES

ABSENT = 0
"""The version of a value that is not there."""


class ValuesUnavailable(AppiaError):  # noqa: N818 - it names a state of the world, not a fault of the caller
    """The store cannot be read or written now; what was read before stays the best knowledge."""


class Conflict(AppiaError):  # noqa: N818 - as above
    """Another one changed the value since it was read."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds under a name, and a number that is another after every change."""

    content: bytes
    version: int


class Values(Protocol):
    """Named values of at most 264 KiB each; safe for several threads and processes.

    A name is 1 to 64 letters, digits, ".", "_" or "-", beginning with a letter or digit.
    """

    def get(self, name: str) -> Stored | None:
        """Read a value; None where there is none. Blocks up to the timeout of the store.

        Raises:
            ValuesUnavailable: the store does not answer, or holds more than a value may have.
            UsageError: `name` is no name.
        """

    def put(self, name: str, content: bytes, version: int) -> None:
        """Write a value if it still has the version that was read, `ABSENT` for none. Blocks as `get` does.

        Durable on return. Where the answer of the store is lost the value may be written although this raises
        ValuesUnavailable: read again.

        Raises:
            Conflict: it has another version.
            ValuesUnavailable: the store does not answer.
            UsageError: `name` is no name, or `content` is empty or too long.
        """

    def where(self, name: str) -> str:
        """What a value is called where it is kept: also the name that it is sealed for."""


def check_name(name: str) -> None:
    """Refuse a name that could not be a file name or a part of a key. Raises UsageError."""
    check_label("value name", name)


def check_content(name: str, content: bytes) -> None:
    """Refuse a content that a store does not take. Raises UsageError."""
    if not 0 < len(content) <= MAX_SEALED_BYTES:
        raise UsageError(f"The value {name} has {len(content)} bytes; 1 to {MAX_SEALED_BYTES} can be kept.")
