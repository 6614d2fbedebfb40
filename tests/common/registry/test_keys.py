"""Keys of the registry that systemd hands over: files side by side in the place of a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.errors import UsageError
from services.common.registry.keys import Login, read_registry_keys

if TYPE_CHECKING:
    from pathlib import Path


def test_credentials_are_read_as_the_folder_that_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`LoadCredential=secrets:FOLDER` makes `secrets_registry_login` of `registry/login`, mode 0440."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    login = tmp_path / "secrets_registry_login"
    login.write_text("appia:word\n")
    login.chmod(0o440)
    (tmp_path / "secrets_registry_ca.pem").write_text("an authority")
    keys = read_registry_keys(tmp_path / "secrets_registry")
    assert keys.login == Login("appia", "word")
    assert keys.ca == tmp_path / "secrets_registry_ca.pem"
    assert keys.certificate is None
    assert keys.seals is None


def test_a_folder_that_is_not_among_the_credentials_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt name is not a folder without files."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(UsageError, match="There is no folder"):
        read_registry_keys(tmp_path / "secrets_registri")
