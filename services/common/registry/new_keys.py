"""Makes what the folder of registry keys holds, and changes its sealing keys in steps that leave no reader behind."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.errors import UsageError
from services.common.locks import locked_folder
from services.common.registry.keys import (
    CA,
    CERTIFICATE,
    CERTIFICATE_KEY,
    LOGIN,
    MOST_LOGIN_BYTES,
    MOST_PEM_BYTES,
    SEAL,
    Login,
    read_seals,
)
from services.common.registry.rotation import Rotation
from services.common.replacing import replace_file
from services.common.sealed import MAX_SEALING_KEYS, SEED_BYTES, Seals, spell_seals
from services.common.secret_files import SECRET_MODE, make_secret_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from services.common.durable import Disk

_PEM = b"-----BEGIN "


@dataclass(frozen=True)
class Given:
    """What goes into the folder: a login, and PEM files to copy."""

    login: Login | None = None
    ca: Path | None = None
    certificate: Path | None = None
    certificate_key: Path | None = None


def make_registry_keys(
    disk: Disk, folder: Path, given: Given, random: Callable[[int], bytes] = os.urandom
) -> Seals:
    """Put what is given into `folder`, which is made, and a sealing key where there is none. Durable on return. Blocks.

    What is given replaces what is there; a sealing key is never replaced.

    Raises:
        UsageError: a file is not what it should be, or the login cannot be written on one line.
        AppiaError: the folder cannot be written, or its sealing keys not be read.
    """
    files = _files(given)
    make_secret_folder(disk, folder)
    with _turn(folder):
        for name, data in files.items():
            replace_file(disk, folder / name, data, SECRET_MODE)
        seals = read_seals(folder / SEAL)
        if seals is None:
            seals = _with_new({}, random)
            _write(disk, folder, seals)
        return seals


def rotate_seals(
    disk: Disk, folder: Path, step: Rotation, random: Callable[[int], bytes] = os.urandom
) -> Seals:
    """Do one step of replacing the sealing key; durable on return. Blocks.

    Raises:
        UsageError: there is no key, or the step is not due.
        AppiaError: the file cannot be read or written.
    """
    with _turn(folder):
        seals = read_seals(folder / SEAL)
        if seals is None:
            raise UsageError(f"{folder} has no sealing key to replace: make one with `appia keys registry`.")
        changed = _STEPS[step](seals, random)
        _write(disk, folder, changed)
        return changed


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Nobody else changes the folder until the end."""
    try:
        with locked_folder(folder):
            yield
    except OSError as error:
        raise UsageError(
            f"{folder} has no sealing key ({error.strerror}): make one with `appia keys registry`."
        ) from None


def _used(seals: Seals, _random: Callable[[int], bytes]) -> Seals:
    newest = list(seals.seeds)[-1]
    if newest == seals.primary:
        raise UsageError(f"The newest sealing key, {newest}, is in use already: `--rotate add` comes first.")
    return Seals(newest, seals.seeds)


def _dropped(seals: Seals, _random: Callable[[int], bytes]) -> Seals:
    if list(seals.seeds)[-1] != seals.primary or len(seals.seeds) == 1:
        raise UsageError(
            f"Key {seals.primary} has no older ones to drop: `--rotate add` and `use` come first."
        )
    return Seals(seals.primary, {seals.primary: seals.seeds[seals.primary]})


def _added(seals: Seals, random: Callable[[int], bytes]) -> Seals:
    if len(seals.seeds) >= MAX_SEALING_KEYS:
        raise UsageError(
            f"There are {MAX_SEALING_KEYS} sealing keys, the most there may be: `--rotate drop` first."
        )
    return Seals(seals.primary, _with_new(seals.seeds, random).seeds)


_STEPS = {Rotation.ADD: _added, Rotation.USE: _used, Rotation.DROP: _dropped}


def _with_new(seeds: Mapping[int, bytes], random: Callable[[int], bytes]) -> Seals:
    """`seeds` and a new one at the end, which is the primary."""
    key_id = int.from_bytes(random(4), "little")
    while key_id in seeds:
        key_id = int.from_bytes(random(4), "little")
    return Seals(key_id, {**seeds, key_id: random(SEED_BYTES)})


def _write(disk: Disk, folder: Path, seals: Seals) -> None:
    replace_file(disk, folder / SEAL, spell_seals(seals), SECRET_MODE)


def _files(given: Given) -> dict[str, bytes]:
    if (given.certificate is None) != (given.certificate_key is None):
        raise UsageError("A client certificate and its key belong together: give both, or neither.")
    pems = {CA: given.ca, CERTIFICATE: given.certificate, CERTIFICATE_KEY: given.certificate_key}
    files = {name: _pem(path) for name, path in pems.items() if path is not None}
    if given.login is not None:
        files[LOGIN] = _spelled(given.login)
    return files


def _spelled(login: Login) -> bytes:
    text = f"{login.user}:{login.password}"
    if not (login.user and login.password and text.isprintable()) or ":" in login.user:
        raise UsageError(
            "A user and a password of etcd are needed, of printable characters, the user without a colon."
        )
    if len(text.encode()) >= MOST_LOGIN_BYTES:
        raise UsageError(f"The user and the password of etcd have more than {MOST_LOGIN_BYTES} bytes.")
    return f"{text}\n".encode()


def _pem(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_PEM_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} could not be read ({error.strerror}): check its name and owner.") from None
    if _PEM not in data or len(data) > MOST_PEM_BYTES:
        raise UsageError(f"{path} is not a PEM file of at most {MOST_PEM_BYTES} bytes.")
    return data
