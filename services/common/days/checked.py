"""Files of a sealed folder, each opened once: the bytes whose SHA-256 fits the manifest are the bytes that are used.

A name could lead to another file a moment after it was checked, an open file cannot.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from services.common.days.leases import share
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from services.common.days.manifest import Manifest

_MALFORMED = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What numbers raise that do not fit each other; faiss has `RuntimeError` only."""


class CheckedFiles:
    """Open files of a sealed folder. What was mapped stays usable after `close`; for one thread."""

    def __init__(self, folder: Path, manifest: Manifest, handles: Mapping[str, int]) -> None:
        """Take over the handles of files that were checked.

        Args:
            folder: where they lie; only named in messages.
            manifest: that they were checked against.
            handles: of each file by its name, open for reading; closed by `close`.
        """
        self.folder = folder
        self.manifest = manifest
        self.handles = handles

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return name in self.handles

    def raw(self, name: str) -> NDArray[np.uint8]:
        """A file mapped whole, uint8 (bytes,), read-only.

        Raises:
            AppiaError: the manifest names no such file.
        """
        if name not in self.handles:
            raise AppiaError(f"{self.folder / name} is not named in its manifest: run `appia verify`")
        handle = self.handles[name]
        if not os.fstat(handle).st_size:
            return np.empty(0, np.uint8)
        # A plain array over the mapping: slices of numpy's own memmap type cost several times as much.
        return np.frombuffer(mmap.mmap(handle, 0, access=mmap.ACCESS_READ), np.uint8)

    def mapped(self, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """A file mapped as an array that fills it, read-only.

        Raises:
            AppiaError: the manifest names no such file, or it has another size.
        """
        raw = self.raw(name)
        wanted = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
        if len(raw) != wanted:
            raise AppiaError(
                f"{self.folder / name} has {len(raw)} bytes and should have {wanted}: run `appia verify`"
            )
        found: NDArray[Any] = raw.view(dtype).reshape(shape)
        return found

    def close(self) -> None:
        """Close the files."""
        for handle in self.handles.values():
            os.close(handle)
        self.handles = {}


@contextmanager
def damage_in(folder: Path) -> Iterator[None]:
    """Tell what checked files raise that do not hold what their manifest says, as an `AppiaError`."""
    try:
        yield
    except _MALFORMED as error:
        raise AppiaError(
            f"{folder} does not hold what its manifest says ({type(error).__name__}: {error}): run `appia verify`"
        ) from error


def check_files(folder: Path, manifest: Manifest, names: Iterable[str] | None = None) -> CheckedFiles:
    """Open the files that a manifest names (only `names` where given) and compare each with its SHA-256.

    They are held as one of their readers (`leases.py`) until they are closed and no mapping of them is left. Blocks
    while they are read. The caller closes what it is given.

    Raises:
        AppiaError: one of them is missing, no plain file, being deleted, or another than the manifest says.
    """
    handles: dict[str, int] = {}
    faults = []
    with ExitStack() as opened:
        for name in manifest.artifacts if names is None else names:
            found = _open(folder, name)
            if isinstance(found, int):
                opened.callback(os.close, found)
                handles[name] = found
                share(found, folder / name)
                found = _difference(folder, manifest, name, found)
            if found:
                faults.append(found)
        if not faults:
            opened.pop_all()
            return CheckedFiles(folder, manifest, handles)
    raise AppiaError("; ".join(faults))


def _open(folder: Path, name: str) -> int | str:
    """A handle of the file, or what is wrong with it. A pipe put in its place does not block."""
    path = folder / name
    if path.parent != folder or name in {"", ".", ".."}:
        return f"{folder} names the file {name!r}, which is none in it"
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return f"{path} is missing"
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return f"{path} is no plain file"
    return handle


def _difference(folder: Path, manifest: Manifest, name: str, handle: int) -> str:
    path, wanted, size = folder / name, manifest.artifacts.get(name), os.fstat(handle).st_size
    if wanted is None:
        return f"{path} is not named in its manifest"
    if size != wanted.bytes:
        return f"{path} has {size} bytes and should have {wanted.bytes}"
    with os.fdopen(os.dup(handle), "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != wanted.sha256:
            return f"{path} was changed: its SHA-256 is not the one in the manifest"
    return ""
