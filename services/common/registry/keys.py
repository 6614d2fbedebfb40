"""What a registry in etcd asks for: one folder, `<keys>/registry/`, of files with fixed names.

    ca.pem                       who signed etcd's certificate; without it the authorities that this machine trusts
    client.pem, client-key.pem   a client certificate, where etcd asks for one
    login                        USER:PASSWORD, one line
    seal                         keys that entries and values are sealed with, one a line (`parse_seals`)

All are optional; the last three are secrets, of mode 0400. The folder may be one of credentials (`secret_in`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.common.errors import AppiaError, UsageError
from services.common.sealed import Seals, parse_seals
from services.common.secret_files import read_secret_file, secret_in

if TYPE_CHECKING:
    from pathlib import Path

CA, CERTIFICATE, CERTIFICATE_KEY, LOGIN, SEAL = "ca.pem", "client.pem", "client-key.pem", "login", "seal"
_FILES = (CA, CERTIFICATE, CERTIFICATE_KEY, LOGIN, SEAL)
MOST_PEM_BYTES = 64 * 1024
MOST_LOGIN_BYTES = 1024
MOST_SEAL_BYTES = 4096


@dataclass(frozen=True)
class Login:
    """A user of etcd."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class RegistryKeys:
    """What was found in the folder.

    Attributes:
        ca: PEM file of the authorities that etcd's certificate is checked against; None for those of the machine.
        certificate: PEM files of this client's certificate and its key.
        login: Who to log in as.
        seals: What entries and values are sealed with; None leaves them readable and changeable.
    """

    ca: Path | None = None
    certificate: tuple[Path, Path] | None = None
    login: Login | None = None
    seals: Seals | None = None


def read_registry_keys(folder: Path | None) -> RegistryKeys:
    """Read the folder; None is one without files. Blocks on the disk only.

    Raises:
        UsageError: there is no such folder, or it has one of the two client files without the other.
        AppiaError: a secret has a wrong mode, owner or content; the content is never quoted.
    """
    if folder is None:
        return RegistryKeys()
    if not folder.is_dir() and not any(secret_in(folder, name).exists() for name in _FILES):
        raise UsageError(
            f"There is no folder {folder} with keys of the registry: make it with `appia keys registry`."
        )
    ca = secret_in(folder, CA)
    return RegistryKeys(
        ca=ca if ca.exists() else None,
        certificate=_certificate(folder),
        login=_login(secret_in(folder, LOGIN)),
        seals=read_seals(secret_in(folder, SEAL)),
    )


def read_seals(path: Path) -> Seals | None:
    """Read the file of sealing keys; None where it is not there.

    Raises:
        AppiaError: it is not a secret file, or damaged.
    """
    if not path.exists():
        return None
    seals = parse_seals(read_secret_file(path, MOST_SEAL_BYTES))
    if seals is None:
        raise AppiaError(
            f"The key file {path} is damaged: each line is a key id and 64 hex characters, and one ends in 'seals'."
        )
    return seals


def _certificate(folder: Path) -> tuple[Path, Path] | None:
    certificate, key = secret_in(folder, CERTIFICATE), secret_in(folder, CERTIFICATE_KEY)
    if certificate.exists() != key.exists():
        raise UsageError(
            f"{folder} has one of {CERTIFICATE} and {CERTIFICATE_KEY}; both are needed, or neither."
        )
    if not certificate.exists():
        return None
    read_secret_file(key, MOST_PEM_BYTES)
    return certificate, key


def _login(path: Path) -> Login | None:
    if not path.exists():
        return None
    text = read_secret_file(path, MOST_LOGIN_BYTES).decode("utf-8", "replace").rstrip("\r\n")
    user, colon, password = text.partition(":")
    if not (colon and user and password and text.isprintable()):
        raise AppiaError(f"The secret file {path} should be one line, USER:PASSWORD.")
    return Login(user, password)
