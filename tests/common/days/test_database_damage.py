"""A database of an open day that a power cut damaged is begun anew: all that was in it comes from the log."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from services.common.days.metadata import MetadataReader, MetadataWriter

if TYPE_CHECKING:
    from pathlib import Path


def _begin(path: Path) -> None:
    with closing(MetadataWriter(path)) as writer:
        writer._db.execute("INSERT INTO narratives VALUES (0, 'a'), (1, 'b')")
        for row in range(200):
            values = (row, f"e-{row}", 0, "", 0, "", 0, 0, "", "", "", "", 0, 0, 0, 0, 0, 0, "", "", row % 2)
            writer._db.execute(f"INSERT INTO events VALUES ({','.join('?' * 21)})", values)  # noqa: S608 - marks


@pytest.mark.parametrize("left", [0, 1, 100, 1000, 4096, 6000, 20_000])
def test_a_torn_database_is_begun_anew(tmp_path: Path, left: int) -> None:
    path = tmp_path / "metadata.db"
    _begin(path)
    path.write_bytes(path.read_bytes()[:left])
    with closing(MetadataWriter(path)) as writer:
        assert writer.rows() == 0
    _begin(path)


@pytest.mark.parametrize(
    "loss", ["events WHERE row = 7", "narratives WHERE id = 1", "narratives WHERE id = 0"]
)
def test_a_database_that_lacks_rows_is_begun_anew(tmp_path: Path, loss: str) -> None:
    path = tmp_path / "metadata.db"
    _begin(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"DELETE FROM {loss}")  # noqa: S608 - of the test
    with closing(MetadataWriter(path)) as writer:
        assert writer.rows() == 0


def test_a_database_that_cannot_be_opened_is_left_as_it_is(tmp_path: Path) -> None:
    """Only damage is begun anew; a lock, a full disk or missing rights are told."""
    path = tmp_path / "metadata.db"
    path.mkdir()
    with pytest.raises(sqlite3.OperationalError):
        MetadataWriter(path)
    assert path.is_dir()


def test_a_whole_database_stays(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    _begin(path)
    with closing(MetadataWriter(path)) as writer:
        assert writer.rows() == 200


def test_a_database_of_which_any_page_is_lost_is_begun_anew_or_whole(tmp_path: Path) -> None:
    """What an index still has does not stand for what its table lost."""
    path = tmp_path / "metadata.db"
    _begin(path)
    raw = path.read_bytes()
    for page in range(len(raw) // 4096):
        path.with_name("metadata.db-wal").write_bytes(b"left by a process that was killed")
        lost = slice(page * 4096 + 1300, (page + 1) * 4096)  # cells lie at the end of a page
        path.write_bytes(raw[: lost.start] + bytes(4096 - 1300) + raw[lost.stop :])
        with closing(MetadataWriter(path)) as writer:
            rows = writer.rows()
        with closing(MetadataReader(path, immutable=False)) as reader:
            assert len(reader.fetch(range(rows))) == rows
        for left in tmp_path.iterdir():
            left.unlink()
