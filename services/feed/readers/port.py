"""What a reader of traffic records is, what it is told, and the three things it hands out."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias

from services.common.events.network_security_pb2 import Detection, NetworkSecurityEvent

if TYPE_CHECKING:
    from collections.abc import Iterator


class LabelMode(StrEnum):
    """What becomes of the label that a data set gives to a row (docs/feeds.md has the table)."""

    CLASSIFICATION = "classification"
    METADATA = "metadata"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read.

    `node` names the sensor in events that name none ("" means `feed-<format>`); `timezone` is that of times
    written without an offset; `seeds` (32 bytes each) open encrypted files. With `follow` the file is read
    as it grows, until `stop` is set. `stop` also ends the waiting for more input on a pipe.
    """

    labels: LabelMode = LabelMode.CLASSIFICATION
    node: str = ""
    timezone: dt.tzinfo = dt.UTC
    follow: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    seeds: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row, or a whole file, that became no event.

    `line` counts from 1 in the unpacked file; `reason` is a short snake_case code to count by and `detail` a
    sentence for the operator. `row` is False when the refusal is about the file and not about one row of it.
    """

    source: str
    line: int
    reason: str
    detail: str
    row: bool = True

    def __str__(self) -> str:
        """Give the place first, as compilers do: `file:line: reason: detail`."""
        return f"{self.source}:{self.line}: {self.reason}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record that is understood and is no flow: a DNS record in an EVE file, a repeated header."""

    kind: str


@dataclass(frozen=True, slots=True)
class Idle:
    """There is nothing to read at the moment; handed out while following, so that the caller can flush."""


Item: TypeAlias = NetworkSecurityEvent | Detection | Refusal | Skipped | Idle


class RowRefusedError(ValueError):
    """One row cannot become an event; `reason` and `detail` as in Refusal."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class SourceBrokenError(Exception):
    """The rest of a file cannot be read; `reason`, `detail` and `line` as in Refusal."""

    def __init__(self, reason: str, detail: str, line: int) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.line = line


class Reader(Protocol):
    """Turns one format into events, or into decisions of a firewall."""

    @property
    def name(self) -> str:
        """The format's name on the command line and in `feed-<name>`."""
        ...

    def read(self, source: str, options: ReadOptions) -> Iterator[Item]:
        """Yield an event, a decision, a refusal or a skip per record of `source`, in the order of the records.

        `source` is a file (plain or gzip), a folder, or "-" for the standard input. Memory stays bounded
        whatever the size of the source. Blocks on the disk or the pipe; with `options.follow` it ends only
        after `options.stop` is set.

        Raises:
            UsageError: there is no such file or folder, or it cannot be followed.
        """
        ...
