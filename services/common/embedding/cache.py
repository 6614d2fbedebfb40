"""The narrative cache: each distinct text is embedded once and its vector kept on disk.

    <folder>/<model id>/<generation>.texts      one record per text, see below
    <folder>/<model id>/<generation>.vectors    row i is the vector of record i: dim float32, little-endian
    <folder>/<model id>/.lock                   held by the one writer

A record is u32 length of the text in bytes, u32 CRC-32C over text and vector, and the text in UTF-8, all
little-endian. A vector is written and synced before its record, and a record counts only if its checksum
holds, so a writer killed at any moment loses at most the texts of its last batch: whatever follows the last
good record is cut off by the next writer and passed over by readers.

The index in memory holds a 16-byte hash and a row number per text. To bound it, a generation that has reached
its size is followed by a new one and the generation before it is deleted: texts that are still in use move
along, those that never come back go.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import google_crc32c
import numpy as np

from services.common.durable import REAL
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from services.common.durable import Disk
    from services.common.embedding.port import Metric, TextEmbedder

_RECORD = struct.Struct("<II")
_VECTOR = np.dtype("<f4")


@dataclass(frozen=True)
class CacheSettings:
    """Limits: texts kept in one generation (two exist at most), and texts embedded between two syncs."""

    texts_per_generation: int = 100_000
    texts_per_sync: int = 256


class _Generation:
    """One pair of files. A writer cuts a torn tail off when it opens; a reader leaves the files alone."""

    def __init__(self, folder: Path, number: int, dim: int, disk: Disk | None = None) -> None:
        """Open for reading, or through `disk` for writing too."""
        self.number = number
        self._width = dim * _VECTOR.itemsize
        self._paths = tuple(folder / f"{number:010d}.{kind}" for kind in ("texts", "vectors"))
        self._writers = [] if disk is None else [disk.patch_or_create(path) for path in self._paths]
        self._texts, self._vectors = (os.open(path, os.O_RDONLY) for path in self._paths)
        self._rows: dict[bytes, int] = {}
        self._count = 0
        self._end = 0
        self.refresh()
        for writer, end in zip(self._writers, (self._end, len(self) * self._width), strict=False):
            writer.truncate(end)

    def __len__(self) -> int:
        return self._count

    def refresh(self) -> None:
        """Take in the good records written since the last look."""
        while True:
            header = os.pread(self._texts, _RECORD.size, self._end)
            if len(header) < _RECORD.size:
                return
            length, checksum = _RECORD.unpack(header)
            if self._end + _RECORD.size + length > os.fstat(self._texts).st_size:
                return
            text = os.pread(self._texts, length, self._end + _RECORD.size)
            vector = os.pread(self._vectors, self._width, len(self) * self._width)
            if len(vector) < self._width or _checksum(text, vector) != checksum:
                return
            self._rows[_key(text)] = self._count
            self._count += 1
            self._end += _RECORD.size + length

    def find(self, text: bytes) -> NDArray[np.float32] | None:
        """The vector (dim,) of `text`, or None."""
        row = self._rows.get(_key(text))
        if row is None:
            return None
        return np.frombuffer(os.pread(self._vectors, self._width, row * self._width), _VECTOR)

    def append(self, texts: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Write new texts and their vectors (n, dim), and sync both."""
        rows = [vector.tobytes() for vector in vectors.astype(_VECTOR, copy=False)]
        new_texts, new_vectors = self._writers
        new_vectors.write(len(self) * self._width, b"".join(rows))
        new_vectors.sync()
        records = [
            _RECORD.pack(len(text), _checksum(text, row)) + text
            for text, row in zip(texts, rows, strict=True)
        ]
        new_texts.write(self._end, b"".join(records))
        new_texts.sync()
        self.refresh()

    def close(self) -> None:
        os.close(self._texts)
        os.close(self._vectors)
        for writer in self._writers:
            writer.close()

    def delete(self, disk: Disk) -> None:
        self.close()
        for path in self._paths:
            disk.remove(path)


class _OfEmbedder:
    """Has the model of another embedder."""

    def __init__(self, embedder: TextEmbedder) -> None:
        self._embedder = embedder

    @property
    def model_id(self) -> str:
        """See `Embedder.model_id`."""
        return self._embedder.model_id

    @property
    def name(self) -> str:
        """See `Embedder.name`."""
        return self._embedder.name

    @property
    def dim(self) -> int:
        """See `Embedder.dim`."""
        return self._embedder.dim

    @property
    def metric(self) -> Metric:
        """See `Embedder.metric`."""
        return self._embedder.metric


class NarrativeCache(_OfEmbedder):
    """A `TextEmbedder` that asks another one only for texts it has not seen. One writer at a time.

    Raises:
        AppiaError: another process writes this cache.
    """

    def __init__(
        self, folder: Path, embedder: TextEmbedder, settings: CacheSettings, disk: Disk = REAL
    ) -> None:
        super().__init__(embedder)
        self._disk = disk
        self._settings = settings
        self._folder = folder / embedder.model_id
        disk.make_folder(self._folder)
        self._lock = disk.lock_file(self._folder / ".lock")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise AppiaError(
                f"The narrative cache {self._folder} is written by another process; "
                "stop that one or use another state directory."
            ) from error
        numbers = _numbers(self._folder) or [1]
        self._generations = [_Generation(self._folder, number, self.dim, disk) for number in numbers]
        self._retire()

    def __len__(self) -> int:
        """The number of vectors kept (a text that moved along counts twice until its old place goes)."""
        return sum(len(generation) for generation in self._generations)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files and of the writer's lock."""
        for generation in self._generations:
            generation.close()
        os.close(self._lock)

    def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Vectors (n, dim) of n texts; new ones are embedded once each and kept. Waits for the disk."""
        vectors = np.empty((len(texts), self.dim), np.float32)
        step = self._settings.texts_per_sync
        places: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            places.setdefault(text, []).append(place)
        distinct = list(places)
        for start in range(0, len(distinct), step):
            batch = distinct[start : start + step]
            for text, vector in zip(batch, self._batch(batch), strict=True):
                vectors[places[text]] = vector
        return vectors

    def _batch(self, texts: list[str]) -> list[NDArray[np.float32]]:
        newest, *older = reversed(self._generations)
        found: dict[str, NDArray[np.float32]] = {}
        keep: list[str] = []
        missing: list[str] = []
        for text in texts:
            data = text.encode()
            vector = newest.find(data)
            if vector is None:
                keep.append(text)
                vector = next((known for old in older if (known := old.find(data)) is not None), None)
            if vector is None:
                missing.append(text)
            else:
                found[text] = vector
        if missing:
            found.update(zip(missing, self._embedder.embed(missing), strict=True))
        if keep:
            newest.append([text.encode() for text in keep], np.array([found[text] for text in keep]))
            self._retire()
        return [found[text] for text in texts]

    def _retire(self) -> None:
        newest = self._generations[-1]
        if len(newest) >= self._settings.texts_per_generation:
            self._generations.append(_Generation(self._folder, newest.number + 1, self.dim, self._disk))
        while len(self._generations) > 2:
            self._generations.pop(0).delete(self._disk)


class NarrativeReader:
    """Looks up vectors that another process keeps, without a lock and without changing a file."""

    def __init__(self, folder: Path, model_id: str, dim: int) -> None:
        self._folder = folder / model_id
        self._dim = dim
        self._generations: dict[int, _Generation] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in what was written since the last look; generations that were deleted go."""
        numbers = _numbers(self._folder)
        for number in set(self._generations) - set(numbers):
            self._generations.pop(number).close()
        for number in numbers:
            if number in self._generations:
                self._generations[number].refresh()
                continue
            try:
                self._generations[number] = _Generation(self._folder, number, self._dim)
            except FileNotFoundError:
                # The writer deleted it between the listing and the opening.
                continue

    def find(self, text: str) -> NDArray[np.float32] | None:
        """The vector (dim,) of `text`, or None if it is not kept."""
        data = text.encode()
        newest_first = sorted(self._generations, reverse=True)
        return next(
            (known for number in newest_first if (known := self._generations[number].find(data)) is not None),
            None,
        )

    def close(self) -> None:
        """Let go of the files."""
        for generation in self._generations.values():
            generation.close()
        self._generations.clear()


class ReadThrough(_OfEmbedder):
    """A `TextEmbedder` that looks into another process's cache first, and embeds what is not there."""

    def __init__(self, reader: NarrativeReader, embedder: TextEmbedder) -> None:
        super().__init__(embedder)
        self._reader = reader

    def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Vectors (n, dim) of n texts; nothing is kept."""
        vectors = [self._reader.find(text) for text in texts]
        new = [text for text, vector in zip(texts, vectors, strict=True) if vector is None]
        made = iter(self._embedder.embed(new))
        found = [next(made) if vector is None else vector for vector in vectors]
        return np.array(found, np.float32).reshape(-1, self.dim)


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.texts"))


def _key(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()


def _checksum(text: bytes, vector: bytes) -> int:
    return int(google_crc32c.extend(google_crc32c.value(text), vector))
