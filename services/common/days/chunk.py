"""Reads the chunk of a sealed generation: all of a day but its vectors. Needs no faiss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.checked import check_files, damage_in
from services.common.days.columns import ADDRESS_BYTES, TAGS, columns_in, unpack_texts
from services.common.days.identity import IDENTITY
from services.common.days.log import LogReader
from services.common.days.manifest import read_manifest
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.manifest import Manifest
    from services.common.rest.log_keys import LogKeys

EVENTS, COLUMNS, ADDRESSES, SYMBOLS = "events.log", "columns.bin", "addresses.bin", "symbols.bin"
TAGS_FILE = "tags.bin"
METADATA, IDENTITIES = "metadata.db", "identities.bin"
MAPPED = (COLUMNS, ADDRESSES, SYMBOLS)


@dataclass(frozen=True)
class Chunk:
    """The chunk of a sealed day: all but the vectors."""

    folder: Path
    manifest: Manifest
    columns: dict[str, NDArray[np.generic]]
    addresses: NDArray[np.uint8]  # (n, 16)
    texts: list[str]
    log: LogReader

    @property
    def rows(self) -> int:
        """Events in the day."""
        return self.manifest.rows

    def identities(self) -> NDArray[np.void]:
        """Identities of the events, sorted, mapped. Blocks to check the file, which nobody but a writer needs.

        Raises:
            AppiaError: it is missing or was changed.
        """
        with check_files(self.folder, self.manifest, (IDENTITIES,)) as files:
            return files.mapped(IDENTITIES, IDENTITY, (self.rows,))


def open_chunk(folder: Path, keys: LogKeys = NO_KEYS, manifest: Manifest | None = None) -> Chunk:
    """Check and map the chunk in `folder`; `keys` are asked when an event of an encrypted log is read.

    The `manifest` is the one there where none is given.

    Raises:
        AppiaError: a file is missing or was changed.
    """
    manifest = manifest or read_manifest(folder)
    has_tags = TAGS_FILE in manifest.artifacts  # days of older releases have them in their database only
    with (
        check_files(folder, manifest, (*MAPPED, TAGS_FILE) if has_tags else MAPPED) as files,
        damage_in(folder),
    ):
        addresses = np.array(files.raw(ADDRESSES)).reshape(-1, ADDRESS_BYTES)
        texts, _ = unpack_texts(files.raw(SYMBOLS).tobytes())
        columns = columns_in(files.raw(COLUMNS), manifest.rows)
        if has_tags:
            columns[TAGS] = files.mapped(TAGS_FILE, "<u4", (manifest.rows,))
    return Chunk(folder, manifest, columns, addresses, texts, LogReader(folder / EVENTS, keys))
