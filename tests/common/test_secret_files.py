"""Secret files: who may read them, what is refused, and that they appear whole and locked up."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.secret_files import create_secret_file, read_secret_file, secret_in

SECRET = b"the password of nobody"


def secret(path: Path, content: bytes = SECRET, mode: int = 0o400) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refusal(path: Path, most_bytes: int = 64) -> str:
    with pytest.raises(AppiaError) as error:
        read_secret_file(path, most_bytes, {})
    assert SECRET.decode() not in str(error.value)
    return str(error.value)


def test_a_secret_is_given_as_it_lies_there(tmp_path: Path) -> None:
    """No byte is added, taken away or stripped, up to the most that is allowed."""
    assert read_secret_file(secret(tmp_path / "a", b" x \n"), 4, {}) == b" x \n"


@pytest.mark.parametrize("mode", [0o600, 0o440, 0o644, 0o500, 0o000, 0o4400])
def test_another_mode_is_refused_with_the_command_that_helps(tmp_path: Path, mode: int) -> None:
    """The sentence names the file, its mode and what to run."""
    if mode == 0 and os.geteuid() != 0:
        pytest.skip("only root can open a file of mode 0000")
    path = secret(tmp_path / "a", mode=mode)
    sentence = refusal(path)
    assert f"chmod 0400 {path}" in sentence
    assert f"{mode:04o}" in sentence


def test_another_owner_is_refused(tmp_path: Path) -> None:
    """What somebody else may change is no secret of ours."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    path = secret(tmp_path / "a")
    os.chown(path, 12345, 12345)
    assert "belongs to user 12345" in refusal(path)


def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path) -> None:
    """A folder, a device, a missing file, and a named pipe that nobody writes to: none is waited for."""
    os.mkfifo(tmp_path / "pipe", 0o400)
    assert "not a plain file" in refusal(tmp_path / "pipe")
    assert "not a plain file" in refusal(Path("/dev/null"))
    assert "no such" in refusal(tmp_path / "none").lower()
    assert str(tmp_path) in refusal(tmp_path)


def test_a_secret_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """A wrong path, to a log for example, does not fill the memory."""
    assert "more than 21 bytes" in refusal(secret(tmp_path / "a"), len(SECRET) - 1)


@pytest.mark.parametrize(("mode", "taken"), [(0o400, True), (0o440, True), (0o444, False), (0o640, False)])
def test_credentials_of_systemd_may_be_0440(tmp_path: Path, mode: int, taken: bool) -> None:  # noqa: FBT001 - a table
    """Only below the folder of the credentials, and only what systemd itself makes."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    path = secret(folder / "a", mode=mode)
    environ = {"CREDENTIALS_DIRECTORY": str(folder)}
    if taken:
        assert read_secret_file(path, 64, environ) == SECRET
    else:
        with pytest.raises(AppiaError, match="chmod 0400"):
            read_secret_file(path, 64, environ)


def test_a_file_beside_the_credentials_is_none_of_them(tmp_path: Path) -> None:
    """Neither a name that begins alike nor a link that leads out counts as below the folder."""
    (tmp_path / "credentials").mkdir()
    outside = secret(tmp_path / "credentials-old", mode=0o440)
    link = tmp_path / "credentials" / "a"
    link.symlink_to(outside)
    for path in (outside, link):
        with pytest.raises(AppiaError, match="mode 0440"):
            read_secret_file(path, 64, {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})


def test_a_new_secret_is_locked_up_and_never_overwritten(tmp_path: Path) -> None:
    """Mode 0400 whatever the umask; a second one under the name is a usage error and changes nothing."""
    path = tmp_path / "a"
    before = os.umask(0)
    try:
        create_secret_file(Disk(), path, SECRET)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    with pytest.raises(UsageError, match="not overwritten"):
        create_secret_file(Disk(), path, b"other")
    assert read_secret_file(path, 64, {}) == SECRET
    assert [name.name for name in tmp_path.iterdir()] == ["a"]


class FullDisk(Disk):
    """A disk without room."""

    def write_file(self, path: Path, data: bytes, mode: int = Disk.FILE_MODE) -> None:  # noqa: ARG002 - as it is
        """Fail as a full disk does."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_secret_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    """One sentence with the path and the reason, without the secret."""
    with pytest.raises(AppiaError, match="No space left") as error:
        create_secret_file(FullDisk(), tmp_path / "a", SECRET)
    assert str(tmp_path / "a") in str(error.value)
    assert SECRET.decode() not in str(error.value)


def test_a_folder_among_credentials_is_the_beginning_of_names(tmp_path: Path) -> None:
    """systemd hands a folder over as files side by side; elsewhere, and where it is a folder, it is one."""
    run = tmp_path / "run"
    run.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(run)}
    assert secret_in(run / "secrets_registry", "login", environ) == run / "secrets_registry_login"
    assert secret_in(run, "login", environ) == run / "login"
    assert secret_in(tmp_path / "keys", "login", environ) == tmp_path / "keys" / "login"
    assert secret_in(run / "secrets_registry", "login", {}) == run / "secrets_registry" / "login"
