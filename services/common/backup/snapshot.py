"""A snapshot: what one backup holds, file by file. JSON, and its own SHA-256 with it.

{"format": 1, "sha256": <of the canonical JSON of the rest>, "snapshot": {...}}

`services/common/canonical.py` says what canonical is. A path is relative and joined by "/"; a file is its pieces one
after the other, and a piece is named by the SHA-256 of its content.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from services.common.canonical import canonical
from services.common.days.names import parse_day
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1
MODES = 0o644
"""Permission bits that a restored file may have."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"\d{8}T\d{6}Z")


@dataclass(frozen=True)
class Piece:
    """Content: its SHA-256 (hex) and its size in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class FileEntry:
    """One file of a state directory."""

    path: str
    mode: int
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        return sum(piece.bytes for piece in self.pieces)


@dataclass(frozen=True)
class Snapshot:
    """One backup. Times are ISO 8601, UTC."""

    name: str  # when it was begun, as 20260122T153000Z; never twice, and ascending
    begun: str  # all that was acknowledged before is in it
    ended: str
    source: str  # machine and state directory
    appia: str  # the release that made it
    keys: bool  # whether secrets are in it
    files: tuple[FileEntry, ...]
    rows: Mapping[str, int]  # events of each day that could be read
    remarks: int  # what analysts said
    faults: tuple[str, ...]  # what was damaged already, one sentence each

    @property
    def size(self) -> int:
        """Of all files, in bytes."""
        return sum(entry.size for entry in self.files)

    def to_json(self) -> bytes:
        """The snapshot as it lies in the store."""
        body = canonical(asdict(self))
        digest = hashlib.sha256(body).hexdigest()
        return b'{"format": %d, "sha256": "%s", "snapshot": %s}\n' % (FORMAT, digest.encode(), body)


def is_secret(path: str) -> bool:
    """Whether a path in a state directory is that of a secret."""
    return path == "keys" or path.startswith("keys/")


def is_name(text: str) -> bool:
    """Whether a text is the name of a snapshot."""
    return _NAME.fullmatch(text) is not None


def parse_snapshot(raw: bytes, origin: str) -> Snapshot:
    """Read what `Snapshot.to_json` wrote; `origin` names it in errors. Nothing in it is trusted.

    Raises:
        AppiaError: it is damaged, or of a newer release.
    """
    try:
        outer = json.loads(raw)
        known = _whole(outer["format"])
        fits = hashlib.sha256(canonical(outer["snapshot"])).hexdigest() == outer["sha256"]
        found = _snapshot(outer["snapshot"]) if fits and known <= FORMAT else None
    except (UsageError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise AppiaError(f"{origin} is damaged ({error}): take another backup of the list") from None
    if known > FORMAT:
        raise AppiaError(
            f"{origin} has format {known}, this release reads up to {FORMAT}: install a newer appia"
        )
    if found is None:
        raise AppiaError(f"{origin} is damaged (its checksum does not fit): take another backup of the list")
    return found


def _snapshot(raw: dict[str, Any]) -> Snapshot:
    files = tuple(_entry(entry) for entry in raw["files"])
    if len({entry.path for entry in files}) != len(files):
        raise ValueError("it names a file twice")
    if not is_name(raw["name"]):
        raise ValueError("it has no proper name")
    if raw["keys"] is not True and any(is_secret(entry.path) for entry in files):
        raise ValueError("it has secrets in it and says that it has none")
    rows = {parse_day(day): _whole(count) for day, count in raw["rows"].items()}
    return Snapshot(
        name=raw["name"],
        begun=str(raw["begun"]),
        ended=str(raw["ended"]),
        source=str(raw["source"]),
        appia=str(raw["appia"]),
        keys=bool(raw["keys"]),
        files=files,
        rows=rows,
        remarks=_whole(raw["remarks"]),
        faults=tuple(map(str, raw["faults"])),
    )


def _entry(raw: dict[str, Any]) -> FileEntry:
    parts = str(raw["path"]).split("/")
    if not all(map(_is_file_name, parts)):
        raise ValueError(f"{raw['path']!r} is no path below a state directory")
    return FileEntry("/".join(parts), _whole(raw["mode"]) & MODES, tuple(map(_piece, raw["pieces"])))


def _is_file_name(part: str) -> bool:
    try:
        os.fsencode(part)
    except UnicodeEncodeError:  # half a surrogate pair, which no file name gives
        return False
    return part not in {"", ".", ".."} and "\0" not in part


def _piece(raw: dict[str, Any]) -> Piece:
    if not _SHA256.fullmatch(raw["sha256"]):
        raise ValueError("a piece has no proper SHA-256")
    return Piece(raw["sha256"], _whole(raw["bytes"]))


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
