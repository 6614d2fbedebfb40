"""The access file is followed while a service runs: whole or not at all."""

from __future__ import annotations

import io
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import pytest

from services.common.access.book import AccessBook, read_access
from services.common.access.curve import KeyPair
from services.common.access.edit import add_key, give_token, new_token, revoke_key
from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.locks import locked_folder
from services.common.logs import make_logger
from services.common.rpc import NotFound
from tests.common.access.conftest import table, write_access

if TYPE_CHECKING:
    from pathlib import Path

KEY = KeyPair.new().public
FIELDS = {"public_key": KEY, "operations": ["questions"], "indices": ["all"], "days": ["all"], "rate": None}


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _lines(log: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_a_change_is_taken_within_a_second(access_file: Path) -> None:
    """Not before: the file is looked at once a second. The change is logged."""
    clock, log = Clock(), io.StringIO()
    book = AccessBook(access_file, make_logger("test", log), clock)
    write_access(access_file, table("alice", KEY), table("old", KeyPair.new().public, revoked=True))
    assert book.table.of_key(KEY) is None
    clock.now += 1
    assert book.table.of_key(KEY) is not None
    assert [(line["event"], line["keys"], line["revoked"]) for line in _lines(log)] == [
        ("the access file has changed", 1, 1)
    ]


def test_a_change_of_the_same_length_and_time_is_seen(access_file: Path) -> None:
    """What counts is the content: a copy that keeps the times of the file changes the rights too."""
    write_access(access_file, table("alice", KEY))
    clock = Clock()
    book = AccessBook(access_file, make_logger("test", io.StringIO()), clock)
    before = access_file.stat()
    content = access_file.read_bytes().replace(b"keys.alice", b"keys.carol")
    with access_file.open("r+b") as file:
        file.write(content)
    os.utime(access_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.now += 1
    found = book.table.of_key(KEY)
    assert found is not None
    assert found.name == "carol"


@pytest.mark.parametrize("damage", ["half", "gone", "open to others", "a folder", "a pipe", "too large"])
def test_what_cannot_be_taken_leaves_what_was(access_file: Path, damage: str) -> None:
    """It is logged once, not once a second, and the good file is taken again when it is back."""
    write_access(access_file, table("alice", KEY))
    clock, log = Clock(), io.StringIO()
    book = AccessBook(access_file, make_logger("test", log), clock)
    whole = access_file.read_bytes()
    if damage == "half":
        write_access(access_file, table("alice", KEY)[:-20])
    elif damage == "open to others":
        access_file.chmod(0o646)
    elif damage == "too large":
        Disk().write_file(access_file, whole + b"\n" * (5 << 20))
    else:
        access_file.unlink()
        if damage == "a folder":
            access_file.mkdir()
        elif damage == "a pipe":
            os.mkfifo(access_file, 0o640)
    for _ in range(3):
        clock.now += 1
        assert book.table.of_key(KEY) is not None
    (line,) = _lines(log)
    assert line["level"] == "error"
    Disk().remove(access_file)
    write_access(access_file, table("bob", KEY))
    clock.now += 1
    found = book.table.of_key(KEY)
    assert found is not None
    assert found.name == "bob"


@pytest.mark.parametrize("mode", [0o660, 0o644, 0o602, 0o601])
def test_others_may_neither_change_nor_read_it(access_file: Path, mode: int) -> None:
    """A service does not start with such a file; the sentence has the command that helps."""
    access_file.chmod(mode)
    with pytest.raises(AppiaError, match=re.escape(f"chmod 0640 {access_file}")):
        AccessBook(access_file, make_logger("test", io.StringIO()))


def test_edits_keep_what_somebody_wrote(tmp_path: Path) -> None:
    """Comments and other tables stay byte for byte; the change has its effect when it is read back."""
    disk, path = Disk(), tmp_path / "access.toml"
    add_key(disk, path, "alice", FIELDS)
    assert path.stat().st_mode & 0o777 == 0o640
    mine = "\n".join(
        (
            "",
            "# our gateway",
            '[keys . "gw" ] # do not touch',
            f'public_key = "{KeyPair.new().public}" # x',
            'operations = [\n  "get",\n]\nindices = ["all"]\ndays = ["all"]\n',
        )
    )
    disk.write_file(path, path.read_bytes() + mine.encode())
    token = new_token()
    assert give_token(disk, path, "gw", token).name == "gw"
    found = read_access(path).of_token(token)
    assert found is not None
    assert found.name == "gw"
    second = new_token()
    give_token(disk, path, "gw", second)
    assert read_access(path).of_token(token) is None, "the one before is worth nothing"
    revoke_key(disk, path, "alice")
    assert read_access(path).of_name("alice") is None
    assert read_access(path).of_token(second) is not None
    left = path.read_text()
    assert all(line in left for line in mine.splitlines())
    assert second not in left


def test_edits_that_cannot_be_made_change_nothing(tmp_path: Path) -> None:
    """A name that is taken or revoked, a wrong field, an unknown key, a table written in another way."""
    disk, path = Disk(), tmp_path / "access.toml"
    add_key(disk, path, "alice", FIELDS)
    revoke_key(disk, path, "alice")
    inline = (
        f'keys.bob = {{ public_key = "{KeyPair.new().public}", operations = [], indices = [], days = [] }}\n'
    )
    disk.write_file(path, path.read_text().replace("format = 1\n", f"format = 1\n{inline}").encode())
    before = path.read_bytes()
    with pytest.raises(UsageError, match="has a key alice already"):
        add_key(disk, path, "alice", {**FIELDS, "public_key": KeyPair.new().public})
    with pytest.raises(UsageError, match="the same key"):
        add_key(disk, path, "carol", FIELDS)
    with pytest.raises(UsageError, match="'days' holds"):
        add_key(disk, path, "carol", {**FIELDS, "public_key": KeyPair.new().public, "days": ["soon"]})
    with pytest.raises(NotFound, match="no key 'nobody'"):
        revoke_key(disk, path, "nobody")
    with pytest.raises(AppiaError, match=r"not have bob as a table \[keys.bob\]"):
        revoke_key(disk, path, "bob")
    assert path.read_bytes() == before


def test_of_two_changes_at_once_none_is_lost(tmp_path: Path) -> None:
    """Each reads the file and writes it whole: one that began in between would take a revocation back."""
    disk, path = Disk(), tmp_path / "access.toml"
    add_key(disk, path, "alice", FIELDS)
    with ThreadPoolExecutor(2) as pool:
        with locked_folder(tmp_path):
            waiting = pool.submit(revoke_key, disk, path, "alice")
            assert not wait([waiting], 0.2).done
        assert waiting.result().revoked
        several = [
            pool.submit(add_key, disk, path, f"key-{number}", {**FIELDS, "public_key": KeyPair.new().public})
            for number in range(8)
        ]
        assert [one.result().name for one in several] == [f"key-{number}" for number in range(8)]
    table_now = read_access(path)
    assert len(table_now.principals) == 9
    assert table_now.principals["alice"].revoked


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The sentence says what to make."""
    with pytest.raises(AppiaError, match=r"The folder of .*/absent/access\.toml cannot be opened"):
        add_key(Disk(), tmp_path / "absent" / "access.toml", "alice", FIELDS)
