"""Where a backup goes, as the operator says it: a folder, as a path or as file:///PATH."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.common.errors import UsageError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def folder_of(url: str) -> Path:
    """The absolute path of the folder that `url` names.

    Raises:
        UsageError: it names something else.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        if not url or "\0" in url:
            raise UsageError("where is the backup? Give a folder")
        return Path(url).expanduser().resolve()
    if scheme[1].lower() != "file":
        raise UsageError(
            f"{scheme[1]}:// is no place for backups that this release knows: give a folder, for example one "
            "in which the other machine is mounted"
        )
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not path.startswith("/"):
        raise UsageError(f"{url} names no folder of this machine: write file:///PATH, or the path alone")
    return folder_of(path)


def check_apart(state: Path, store: Path) -> None:
    """Check that neither folder is in the other: a backup would copy itself.

    Raises:
        UsageError: one is.
    """
    state, store = state.resolve(), store.resolve()
    if state == store or state in store.parents or store in state.parents:
        raise UsageError(f"{store} and the state directory {state} lie in each other: choose another folder")


def is_vacant(folder: Path, marker: str) -> bool:
    """Whether a folder is empty, but for what a new file system has, and what a crash left of its file `marker`."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    return not {name for name in names if name != "lost+found" and not name.startswith(f".{marker}.")}
