"""Storage keys are kept in one secret file, made once, rotated in one step, and followed by what runs."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.rest.storage_keys import (
    MOST_KEYS,
    NO_KEYS,
    StorageKeys,
    new_storage_keys,
    open_log_keys,
    read_storage_keys,
    rotate_storage_keys,
    storage_keys_file,
)
from services.common.system_calls import SystemCalls

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def _ids(path: Path) -> list[int]:
    return [key.key_id for key in read_storage_keys(path)]


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o400)


def test_a_new_file_is_a_secret_and_is_never_overwritten(tmp_path: Path, disk: Disk) -> None:
    """Mode 0400 in a folder of mode 0700; a second time nothing changes."""
    path = storage_keys_file(tmp_path / "keys")
    key = new_storage_keys(disk, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    before = path.read_bytes()
    with pytest.raises(UsageError, match="not overwritten"):
        new_storage_keys(disk, path)
    assert (path.read_bytes(), _ids(path)) == (before, [key.key_id])


def test_a_rotation_keeps_the_older_keys(keys_file: Path, disk: Disk) -> None:
    """The new key comes last, the others stay in their order, the file stays secret."""
    (first,) = _ids(keys_file)
    second = rotate_storage_keys(disk, keys_file).key_id
    third = rotate_storage_keys(disk, keys_file).key_id
    assert _ids(keys_file) == [first, second, third]
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o400


def test_a_rotation_that_is_broken_off_leaves_the_keys_as_they_were(keys_file: Path) -> None:
    """The disk fails before the rename: the old file is there whole."""

    class Failing(SystemCalls):
        def rename(self, old: Path | str, new: Path | str) -> None:  # noqa: ARG002 - the signature of the port
            raise OSError(5, "Input/output error")

    before = keys_file.read_bytes()
    with pytest.raises(AppiaError, match="could not be written"):
        rotate_storage_keys(Disk(Failing()), keys_file)
    assert keys_file.read_bytes() == before


def test_a_full_file_takes_no_more(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "storage.keys"
    _write(path, "".join(f"{number:064x}\n" for number in range(MOST_KEYS)))
    with pytest.raises(AppiaError, match="takes no more"):
        rotate_storage_keys(disk, path)
    assert len(_ids(path)) == MOST_KEYS


@pytest.mark.parametrize(
    "text",
    ["", "\n", "ab" * 31, "ab" * 33, "AB" * 32, "zz" * 32, f"{'ab' * 32} {'cd' * 31}", "\x00" * 64],
    ids=["empty", "blank", "short", "long", "capitals", "no hex", "second short", "zeros"],
)
def test_what_holds_no_keys_is_refused_and_never_quoted(tmp_path: Path, text: str) -> None:
    path = tmp_path / "storage.keys"
    _write(path, text)
    with pytest.raises(AppiaError, match="holds no storage keys") as refused:
        read_storage_keys(path)
    assert "abab" not in str(refused.value)
    assert "cdcd" not in str(refused.value)


def test_a_key_that_is_there_twice_is_said(tmp_path: Path) -> None:
    path = tmp_path / "storage.keys"
    _write(path, f"{'ab' * 32}\n{'ab' * 32}\n")
    with pytest.raises(AppiaError, match="twice"):
        read_storage_keys(path)


@pytest.mark.parametrize("mode", [0o600, 0o440, 0o404, 0o644])
def test_a_file_that_others_may_read_is_refused(keys_file: Path, mode: int) -> None:
    keys_file.chmod(mode)
    with pytest.raises(AppiaError, match="chmod 0400"):
        read_storage_keys(keys_file)


def test_a_systemd_credential_is_taken(keys_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LoadCredential= may give mode 0440 to the service's user; it is taken below the folder of credentials only."""
    keys_file.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(keys_file.parent))
    assert len(_ids(keys_file)) == 1


def test_a_rotation_counts_for_what_runs(keys: StorageKeys, keys_file: Path, disk: Disk) -> None:
    """Without a restart the new key is for new files, and the old one is found still."""
    old = keys.for_new_files()
    new = rotate_storage_keys(disk, keys_file)
    assert keys.for_new_files().key_id == new.key_id
    assert keys.find(old.key_id, keys_file).key_id == old.key_id


def test_a_reader_finds_a_key_that_came_later(keys: StorageKeys, keys_file: Path, disk: Disk) -> None:
    """A replica that read its keys before a rotation opens what the ingester wrote after it."""
    new = rotate_storage_keys(disk, keys_file)
    assert keys.find(new.key_id, keys_file).key_id == new.key_id


@pytest.mark.parametrize("fault", ["gone", "damaged", "open to others"])
def test_the_last_good_keys_stay(keys: StorageKeys, keys_file: Path, told: list[str], fault: str) -> None:
    """A file that became unusable is said once, and nobody stops for it."""
    before = keys.for_new_files().key_id
    if fault == "gone":
        keys_file.unlink()
    elif fault == "damaged":
        _write(keys_file, "nothing")
    else:
        content = keys_file.read_text()
        keys_file.unlink()
        keys_file.write_text(content)
        keys_file.chmod(0o644)
    assert [keys.for_new_files().key_id for _ in range(3)] == [before] * 3
    assert len(told) == 1
    assert str(keys_file) in told[0]


def test_a_mode_that_is_put_right_is_noticed(
    keys: StorageKeys, keys_file: Path, disk: Disk, told: list[str]
) -> None:
    """Whoever does what the sentence says need not restart: `chmod` changes neither size nor time of a file."""
    new = rotate_storage_keys(disk, keys_file)
    keys_file.chmod(0o644)
    assert keys.for_new_files().key_id != new.key_id
    assert "chmod 0400" in told[0]
    keys_file.chmod(0o400)
    assert keys.for_new_files().key_id == new.key_id


def test_an_unknown_key_is_named_by_its_id(keys: StorageKeys, tmp_path: Path) -> None:
    with pytest.raises(AppiaError, match=r"a\.log is encrypted with the storage key 0000000000000005"):
        keys.find(5, tmp_path / "a.log")


def test_secrets_are_in_no_text(keys: StorageKeys, keys_file: Path) -> None:
    """Neither `repr` nor a message has the key."""
    secret = keys_file.read_text().strip()
    shown: Sequence[object] = (
        keys,
        keys.for_new_files(),
        vars(keys),
        keys.find(keys.for_new_files().key_id, keys_file),
    )
    assert all(secret not in repr(one) and repr(bytes.fromhex(secret)) not in repr(one) for one in shown)


def test_encryption_that_is_required_needs_a_key() -> None:
    with pytest.raises(AppiaError, match="storage_key names no file"):
        open_log_keys(None, print, require_encryption=True)
    assert open_log_keys(None, print) is NO_KEYS


def test_a_pipe_in_the_place_of_the_file_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "storage.keys", 0o400)
    with pytest.raises(AppiaError, match="not a plain file"):
        read_storage_keys(tmp_path / "storage.keys")
