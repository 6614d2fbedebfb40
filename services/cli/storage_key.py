"""The option that names the storage keys, for commands that read logs from the disk themselves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.output import say
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from services.common.days.names import StateNames
    from services.common.rest.log_keys import LogKeys

StorageKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--storage-key",
        metavar="FILE",
        envvar="APPIA_STORAGE_KEY",
        help="File of storage keys, where logs are encrypted.",
        show_default="keys/rest/storage.keys of the state directory",
    ),
]


def log_keys(storage_key: Path | None, *folders: StateNames) -> LogKeys:
    """The keys in a file that a user named, else in the first of these state directories that has some, else none.

    What nobody named and cannot be used is told and left out: much can be read and checked without it.

    Raises:
        AppiaError: the file that was named cannot be used.
    """
    from services.common.rest.storage_keys import (  # noqa: PLC0415 - cryptography loads slowly
        NO_KEYS,
        open_log_keys,
        storage_keys_file,
    )

    if storage_key is not None:
        return open_log_keys(storage_key, say)
    for path in (storage_keys_file(names.keys) for names in folders):
        if os.path.exists(path):  # noqa: PTH110 - false, too, where this user may not look
            try:
                return open_log_keys(path, say)
            except AppiaError as error:
                say(f"goes on without the storage key: {error}")
    return NO_KEYS
