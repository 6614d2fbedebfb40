"""A place of fsspec that days are published to: an object store, another machine's file system."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_STAGED = ".staged"


class FsspecStore:
    """A place of fsspec below a root path."""

    appends = False

    def __init__(self, filesystem: Any, root: str, *, renames: bool) -> None:
        """`renames` says that a file under way can be seen there, so that it is renamed when it is whole."""
        self._fs = filesystem
        self._root = root.rstrip("/")
        self._renames = renames

    def check(self) -> None:
        """As the port says."""
        with _said():
            self._fs.invalidate_cache()
            if self._renames and not self._fs.isdir(self._root):
                raise FileNotFoundError(f"{self._root} is no folder there: make it first")
            self._fs.ls(self._root.partition("/")[0] or self._root, detail=False)

    def sizes(self, folder: str) -> Mapping[str, int | None]:
        """As the port says."""
        try:
            with _said():
                found = self._fs.ls(self._at(folder), detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        return {
            one["name"].rstrip("/").rpartition("/")[2]: None if one["type"] == "directory" else one["size"]
            for one in found
        }

    def read(self, path: str, start: int, length: int) -> bytes | None:
        """As the port says."""
        try:
            with _said():
                return bytes(self._fs.cat_file(self._at(path), start=start, end=start + length))
        except FileNotFoundError:
            return None

    def put(self, path: str, chunks: Iterable[bytes]) -> None:
        """As the port says."""
        final = self._at(path)
        folder, _, name = final.rpartition("/")
        written = f"{folder}/.{name}{_STAGED}" if self._renames else final
        with _said():
            if self._renames:
                self._fs.makedirs(folder, exist_ok=True)
            self._write(written, chunks)
            if self._renames:
                self._fs.mv(written, final)

    def _write(self, path: str, chunks: Iterable[bytes]) -> None:
        file = self._fs.open(path, "wb")
        try:
            for chunk in chunks:
                file.write(chunk)
        except BaseException:
            end = getattr(file, "discard", file.close)  # a part must not become an object
            end()
            raise
        file.close()

    def append(self, path: str, chunks: Iterable[bytes]) -> None:
        """Not possible here.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError

    def remove(self, path: str) -> None:
        """As the port says."""
        with _said():
            if self._fs.exists(self._at(path)):
                self._fs.rm(self._at(path), recursive=True)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root


@contextmanager
def _said() -> Iterator[None]:
    """Errors of whatever library speaks to the place, as `OSError`."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
