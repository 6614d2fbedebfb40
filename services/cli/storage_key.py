"""The option that names the storage keys, for commands that read logs from the disk themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.output import say

if TYPE_CHECKING:
    from services.common.rest.log_keys import LogKeys

StorageKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--storage-key",
        metavar="FILE",
        envvar="APPIA_STORAGE_KEY",
        help="File of storage keys, where logs are encrypted.",
        show_default="none",
    ),
]


def log_keys(storage_key: Path | None) -> LogKeys:
    """The keys in a file that a user named, or none.

    Raises:
        AppiaError: the file cannot be used.
    """
    from services.common.rest.storage_keys import open_log_keys  # noqa: PLC0415 - cryptography loads slowly

    return open_log_keys(storage_key, say)
