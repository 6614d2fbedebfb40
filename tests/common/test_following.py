"""A file is followed whole or not at all; the last good content stays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from services.common.errors import AppiaError
from services.common.following import FollowedFile

if TYPE_CHECKING:
    from pathlib import Path


class Followed:
    """A file with a number, what follows it, and what was said of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []
        self.parsed = 0
        path.write_text("1")
        self.file = FollowedFile(self._read, self._parse, self.said.append)

    def _read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise AppiaError(f"it cannot be read: {error.strerror}") from None

    def _parse(self, data: bytes) -> int:
        self.parsed += 1
        try:
            return int(json.loads(data))
        except ValueError:
            raise AppiaError("it is no number") from None


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path / "number")


def test_a_change_is_told_once_and_nothing_is_parsed_twice(followed: Followed) -> None:
    """A look at what has not changed costs a reading and no more."""
    assert [followed.file.look() for _ in range(3)] == [False] * 3
    followed.path.write_text("2")
    assert [followed.file.look() for _ in range(3)] == [True, False, False]
    assert (followed.file.content, followed.parsed, followed.said) == (2, 2, [])


def test_each_fault_is_said_once_and_again_after_the_file_was_sound(followed: Followed) -> None:
    """Also where the file comes back as it was: who was told that it is bad is told so the next time too."""
    for _ in range(2):
        followed.path.write_text("half of")
        assert [followed.file.look() for _ in range(3)] == [False] * 3
        followed.path.unlink()
        assert [followed.file.look() for _ in range(3)] == [False] * 3
        assert followed.file.content == 1
        followed.path.write_text("1")
        assert not followed.file.look()
    assert followed.said == ["it is no number", "it cannot be read: No such file or directory"] * 2


def test_what_is_not_sound_at_the_start_is_refused(tmp_path: Path) -> None:
    """There is no last good content to go on with."""
    with pytest.raises(AppiaError, match="no number"):
        FollowedFile(lambda: b"x", Followed(tmp_path / "number")._parse, lambda _why: None)


def test_the_bytes_are_not_kept(followed: Followed) -> None:
    """They may be a secret: only the content is, which knows how to hide it."""
    followed.path.write_text("4711")
    followed.file.look()
    followed.file.content = 0
    assert "4711" not in repr(vars(followed.file))
