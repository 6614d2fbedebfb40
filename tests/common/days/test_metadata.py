"""The database of a day, wherever the state directory is."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from services.common.days.metadata import MetadataReader, MetadataWriter, check_database

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["a?b", "100%41", "a#b", "two words", "ñandú"])
def test_it_is_read_in_any_folder(tmp_path: Path, name: str) -> None:
    """Characters that mean something in a URI are part of the path, and nothing is made beside it."""
    folder = tmp_path / name
    folder.mkdir()
    MetadataWriter(folder / "metadata.db").finish()
    for immutable in (False, True):
        with closing(MetadataReader(folder / "metadata.db", immutable=immutable)) as reader:
            assert reader.find("nobody") == []
    assert check_database(folder / "metadata.db") == []
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("content", [None, b"no database at all" * 1000])
def test_the_check_says_what_is_wrong_with_what_is_no_database(tmp_path: Path, content: bytes | None) -> None:
    """A file that is missing, or something else under a manifest that fits, is a fault and no traceback."""
    path = tmp_path / "metadata.db"
    if content is not None:
        path.write_bytes(content)
    assert len(list(check_database(path))) == 1
