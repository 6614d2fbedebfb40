"""Changes an access file and leaves all else in it as somebody wrote it.

What is written is read back first: a change that would not have its effect, or would damage the file, is not made.
One change at a time; a second one waits.
"""

from __future__ import annotations

import json
import re
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from services.common.access.book import read_access, read_access_text
from services.common.access.table import FORMAT, TOKEN_BYTES, parse_access, token_digest
from services.common.errors import AppiaError, UsageError
from services.common.locks import locked_folder
from services.common.replacing import replace_file
from services.common.rpc import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from services.common.access.rights import Principal
    from services.common.durable import Disk


def new_token() -> str:
    """A token for HTTP: 32 random bytes in base64 for URLs. Only its digest is kept."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def to_table(name: str, fields: Mapping[str, Any]) -> str:
    """The table of a key as the file has it; fields that are None are left out."""
    return "\n".join([f"[keys.{name}]", *_lines(fields)]) + "\n"


def _lines(fields: Mapping[str, Any]) -> list[str]:
    # JSON's numbers, truth values, lists, and texts in ASCII are TOML's too.
    return [f"{field} = {json.dumps(value)}" for field, value in fields.items() if value is not None]


def add_key(disk: Disk, path: Path, name: str, fields: Mapping[str, Any]) -> Principal:
    """Add a key to the access file at `path`, which is made where there is none. Blocks until it is on disk.

    Raises:
        UsageError: the name is taken, also by a key that is revoked, or what is given is not allowed.
        AppiaError: the file is damaged, or cannot be read or written.
    """
    with _turn(path):
        text = read_access_text(path) if path.exists() else f"format = {FORMAT}\n"
        if name in parse_access(text.encode(), str(path)).principals:
            raise UsageError(f"{path} has a key {name} already: choose another name, or revoke that one.")
        text = f"{text.rstrip()}\n\n{to_table(name, fields)}"
        try:
            added = parse_access(text.encode(), str(path)).principals[name]
        except AppiaError as error:
            raise UsageError(str(error)) from None
        replace_file(disk, path, text.encode())
        return added


def revoke_key(disk: Disk, path: Path, name: str) -> Principal:
    """Mark a key as revoked; its table stays, so that nobody else gets the name. Blocks until it is on disk.

    Raises:
        NotFound: there is no such key.
        AppiaError: the file is damaged or cannot be read or written.
    """
    return _set(disk, path, name, {"revoked": True})


def give_token(disk: Disk, path: Path, name: str, token: str) -> Principal:
    """Let a key be used over HTTP by this token, and by no other any more. Blocks and raises as `revoke_key`."""
    return _set(disk, path, name, {"token_sha256": token_digest(token)})


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Nobody else changes the file until the end: of two changes at once no revocation may be lost."""
    try:
        with locked_folder(path.parent):
            yield
    except OSError as error:
        raise AppiaError(
            f"The folder of {path} cannot be opened ({error.strerror}): make it first, or check its owner."
        ) from None


def _set(disk: Disk, path: Path, name: str, fields: Mapping[str, Any]) -> Principal:
    """Set fields of a key that is there."""
    with _turn(path):
        if name not in read_access(path).principals:
            raise NotFound(f"{path} has no key {name!r}; `appia access list` shows those it has.")
        text = _with_fields(path, name, fields)
        found = parse_access(text.encode(), str(path)).principals[name]
        replace_file(disk, path, text.encode())
        return found


def _with_fields(path: Path, name: str, fields: Mapping[str, Any]) -> str:
    """The text of the file with fields of one key as given, and all else as it is."""
    lines = read_access_text(path).splitlines()
    header = re.compile(rf"\s*\[\s*keys\s*\.\s*(['\"]?){re.escape(name)}\1\s*\]\s*(#.*)?")
    starts = [number for number, line in enumerate(lines) if header.fullmatch(line)]
    if len(starts) != 1:
        raise AppiaError(
            f"{path} does not have {name} as a table [keys.{name}]: set {', '.join(fields)} by hand."
        )
    start = starts[0] + 1
    end = next((n for n in range(start, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
    is_set = re.compile(rf"\s*(?:{'|'.join(fields)})\s*=")
    kept = [line for line in lines[start:end] if not is_set.match(line)]
    lines[start:end] = [*_lines(fields), *kept]
    return "\n".join(lines) + "\n"
