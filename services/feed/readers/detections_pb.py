"""Files that hold one serialized `DetectionBatch` each: what a detector tells a firewall, as the contract has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from services.common.events.network_security_pb2 import DetectionBatch
from services.common.wire.body import MAX_BODY_BYTES
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


class DetectionsPbReader:
    """Reads batches; `line` of its refusals is 0."""

    name = "detections-pb"

    def read(self, source: str, options: ReadOptions) -> Iterator[Item]:
        """See Reader; in a folder only files named *.pb are read.

        Raises:
            UsageError: the source is no file or folder, or was to be followed.
        """
        path = whole_files(source, options, "batch")
        return self._items(path)

    def _items(self, path: Path) -> Iterator[Item]:
        for file, name in files_below(path):
            if path.is_dir() and file.suffix != ".pb":
                yield Skipped("other_file")
                continue
            try:
                batch = _batch(file)
            except (RowRefusedError, SourceBrokenError) as error:
                yield Refusal(name, 0, error.reason, error.detail)
                continue
            stamp = batch.batch_timestamp
            for one in batch.detections:
                if not one.timestamp and stamp.seconds > 0:
                    one.timestamp = stamp.seconds
                yield one


def _batch(file: Path) -> DetectionBatch:
    payload = read_limited(file, MAX_BODY_BYTES + 1)
    if len(payload) > MAX_BODY_BYTES:
        raise RowRefusedError("too_long", f"the file has more than {MAX_BODY_BYTES} bytes")
    try:
        batch = DetectionBatch.FromString(payload)
    except DecodeError as error:
        raise RowRefusedError("not_decisions", f"the file is not a DetectionBatch ({error})") from None
    if not batch.detections:
        raise RowRefusedError("not_decisions", "the file holds no decision")
    return batch
