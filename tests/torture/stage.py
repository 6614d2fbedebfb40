"""One folder that shows one state of a disk after the other: only what differs from the one before is written."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torture.replay import Tree

_Stamp = tuple[int, int, int]  # inode, size, time of the last change


class Stage:
    """Shows trees below a folder, which belongs to it."""

    def __init__(self, top: Path) -> None:
        """Begin with nothing below `top`."""
        self.top = top
        self._files: dict[str, tuple[bytes, _Stamp]] = {}

    def show(self, tree: Tree, touched: Iterable[str]) -> None:
        """Make the folder hold `tree`. `touched` are the files that may have been written in place since the last."""
        for path in touched:
            self._files.pop(path, None)
        there = dict(self._clear("", tree))
        for path, mode in sorted(tree.folders.items()):
            if path not in there:
                os.mkdir(f"{self.top}/{path}", mode)  # noqa: PTH102 - strings are quicker here
        for path, (data, mode) in tree.files.items():
            known = self._files.get(path)
            if known is None or known[0] != data or known[1] != there.get(path):
                self._write(path, data, mode)

    def clear(self) -> None:
        """Remove everything."""
        for entry in list(self.top.iterdir()):
            shutil.rmtree(entry)
        self.forget()

    def forget(self) -> None:
        """Write every file anew next time."""
        self._files.clear()

    def _clear(self, above: str, tree: Tree) -> Iterable[tuple[str, _Stamp | None]]:
        """Remove what is not in `tree`; gives what is left."""
        with os.scandir(f"{self.top}/{above}") as entries:
            for entry in entries:
                path = f"{above}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    if path in tree.folders:
                        yield path, None
                        yield from self._clear(f"{path}/", tree)
                    else:
                        shutil.rmtree(entry.path)
                elif path in tree.files:
                    status = entry.stat(follow_symlinks=False)
                    yield path, (status.st_ino, status.st_size, status.st_mtime_ns)
                else:
                    os.unlink(entry.path)  # noqa: PTH108 - strings are quicker here
                    self._files.pop(path, None)

    def _write(self, path: str, data: bytes, mode: int) -> None:
        name = f"{self.top}/{path}"
        if os.path.lexists(name):  # a new inode: who maps the old one keeps it
            os.unlink(name)  # noqa: PTH108 - strings are quicker here
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            os.write(fd, data)
            status = os.fstat(fd)
        finally:
            os.close(fd)
        self._files[path] = data, (status.st_ino, status.st_size, status.st_mtime_ns)
