"""A file that may change while a service runs: taken up whole or not at all, and the last good content stays."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Generic, TypeVar

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable

Content = TypeVar("Content")


class FollowedFile(Generic[Content]):
    """What a file holds, as it was when it was sound last. Not safe for several threads.

    Its times are not asked: two changes in a row may have the same, and a mode that is put right changes none.
    """

    def __init__(
        self, read: Callable[[], bytes], parse: Callable[[bytes], Content], refused: Callable[[str], None]
    ) -> None:
        """Read the file. Blocks on the disk.

        Args:
            read: gives the bytes of the file; called at every look, so the file has to be small.
            parse: makes the content of them; called only when they are others than before.
            refused: takes one sentence, once, when the file cannot be used any more.

        Raises:
            AppiaError: `read` or `parse` refused it.
        """
        self._read, self._parse, self._refused = read, parse, refused
        data = read()
        self.content = parse(data)
        self._digest = _digest(data)
        self._told = ""

    @property
    def fault(self) -> str:
        """Why what the file holds now is not taken, as `refused` was told; empty while it is sound."""
        return self._told

    def look(self) -> bool:
        """Whether there is another content now. Blocks on the disk."""
        try:
            data = self._read()
            if _digest(data) == self._digest:
                self._told = ""
                return False
            content = self._parse(data)
        except AppiaError as error:
            if str(error) != self._told:
                self._told = str(error)
                self._refused(self._told)
            return False
        self.content, self._digest, self._told = content, _digest(data), ""
        return True


def _digest(data: bytes) -> bytes:
    """Stands for the bytes, which may be a secret."""
    return hashlib.sha256(data).digest()
