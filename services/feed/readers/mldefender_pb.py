"""The sensors' artifacts/YYYY-MM-DD/event_<id>.pb and .pb.enc: one serialized event a file.

A file that ends in .enc is a version 1 frame of the channel ml-defender:rag-artifacts:v1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.wire.body import MAX_BODY_BYTES, MAX_FRAME_BYTES
from services.common.wire.keys import RAG_ARTIFACTS
from services.common.wire.refusals import FrameRefused
from services.common.wire.v1 import V1Opener
from services.feed.readers.mldefender import settled
from services.feed.readers.port import (
    Item,
    ReadOptions,
    Refusal,
    RowRefusedError,
    Skipped,
    SourceBrokenError,
)
from services.feed.readers.sources import files_below, read_limited, whole_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENCRYPTED = ".enc"
OTHER_FILE = Skipped("other_file")


class MlDefenderPbReader:
    """Reads one event a file, plain or encrypted; `line` of its refusals is 0."""

    name = "mldefender-pb"

    def read(self, source: str, options: ReadOptions) -> Iterator[Item]:
        """See Reader; in a folder only files named event_*.pb and event_*.pb.enc are read.

        Raises:
            UsageError: the source is no file or folder, or was to be followed.
        """
        path = whole_files(source, options, "event")
        opener = V1Opener(options.seeds, RAG_ARTIFACTS) if options.seeds else None
        return self._items(path, opener, options)

    def _items(self, path: Path, opener: V1Opener | None, options: ReadOptions) -> Iterator[Item]:
        for file, name in files_below(path):
            if path.is_dir() and not _is_event(file):
                yield OTHER_FILE
                continue
            try:
                yield settled(_payload(file, opener), self.name, options)
            except (RowRefusedError, SourceBrokenError, FrameRefused) as error:
                yield Refusal(name, 0, str(error.reason), error.detail)


def _is_event(file: Path) -> bool:
    return file.name.startswith("event_") and file.name.endswith((".pb", ".pb.enc"))


def _payload(file: Path, opener: V1Opener | None) -> bytes:
    if file.suffix != ENCRYPTED:
        payload = read_limited(file, MAX_BODY_BYTES + 1)
        if len(payload) > MAX_BODY_BYTES:
            raise RowRefusedError("too_long", f"the file has more than {MAX_BODY_BYTES} bytes")
        return payload
    if opener is None:
        raise RowRefusedError("no_seed", "the file is encrypted and no seed was given")
    return opener.open(read_limited(file, MAX_FRAME_BYTES + 1)).payload
