"""The database of a day, wherever the state directory is."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from services.common.days.metadata import MetadataReader, MetadataWriter, check_database
from services.common.durable import Disk
from services.common.system_calls import SystemCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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


def test_who_may_not_write_beside_it_reads_it_when_its_writer_is_gone_and_when_it_is_back(
    tmp_path: Path,
) -> None:
    """As a replica under systemd that starts while the ingester, or the mirror, is stopped or waits for its source."""
    folder = tmp_path / "segment"
    folder.mkdir()
    path = folder / "metadata.db"
    with closing(MetadataWriter(path)):
        pass
    folder.chmod(0o555)
    try:
        with _reading_only(path) as count:
            assert count() == 0
            with closing(MetadataWriter(path)) as writer:
                writer._db.execute("INSERT INTO narratives VALUES (0, 'a')")
                assert count() == 1
            assert count() == 1
        with _reading_only(path) as count:
            assert count() == 1
    finally:
        folder.chmod(0o755)


def test_a_database_that_never_changes_again_is_one_file(tmp_path: Path) -> None:
    with closing(MetadataWriter(tmp_path / "metadata.db")) as writer:
        writer.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["metadata.db"]


@contextmanager
def _reading_only(path: Path) -> Iterator[Callable[[], int]]:
    """Asks another process, which may write nothing in its folder, how many narratives there are."""
    code = (
        "import sys; from pathlib import Path; from services.common.days.metadata import MetadataReader\n"
        "reader = MetadataReader(Path(sys.argv[1]), immutable=False)\n"
        "for _ in sys.stdin:\n"
        "    print(reader._db.execute('SELECT count(*) FROM narratives').fetchone()[0], flush=True)\n"
    )
    # The system lets root write everywhere, but for who lacks this one right.
    as_others = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    command = [*as_others, sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        questions, answers = process.stdin, process.stdout

        def count() -> int:
            questions.write("?\n")
            questions.flush()
            return int(answers.readline())

        yield count
        questions.close()
        assert process.wait(10) == 0


class FullCalls(SystemCalls):
    """No new file has room."""

    def open(self, path: Path | str, flags: int, mode: int = 0o640) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().open(path, flags, mode)


def test_a_full_disk_does_not_keep_it_from_being_closed(tmp_path: Path) -> None:
    """An index that fails is closed, and opened again later: what that raises would end all the others."""
    writer = MetadataWriter(tmp_path / "metadata.db", Disk(FullCalls()))
    writer.close()
    with closing(MetadataWriter(tmp_path / "metadata.db")) as again:
        assert again.rows() == 0
