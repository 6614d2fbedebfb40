"""Signing keys on disk."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from services.common.chain.keys import (
    PublicKey,
    SigningKey,
    active_public_key,
    new_signing_key,
    public_key_file,
    read_public_key,
    read_signing_ring,
    signing_folder,
)
from services.common.errors import AppiaError, UsageError
from services.common.private_folders import UMASK

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.durable import Disk

# RFC 8032, section 7.1, test 1.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_the_key_is_ed25519() -> None:
    """The public half is the one that RFC 8032 gives for its first seed."""
    assert SigningKey(SEED).public.raw.hex() == PUBLIC


def test_a_signature_counts_for_its_purpose_and_data_alone() -> None:
    """Another purpose, other data, another key or other bytes are no signature."""
    key, other = SigningKey(SEED), SigningKey(bytes(32))
    signature = key.sign("chain:v1", b"data")
    assert key.public.signed("chain:v1", b"data", signature)
    assert not key.public.signed("case:v1", b"data", signature)
    assert not key.public.signed("chain:v1", b"datA", signature)
    assert not other.public.signed("chain:v1", b"data", signature)
    assert not key.public.signed("chain:v1", b"data", signature[:-1])
    assert not key.public.signed("chain:v1", b"data", b"")


def test_the_seed_is_never_shown(keys: Path) -> None:
    """Neither a key nor a ring has its seed in its repr."""
    ring = read_signing_ring(keys)
    assert ring is not None
    seed = next(signing_folder(keys).glob("*.key")).read_text().strip()
    assert seed not in repr(ring)
    assert seed not in repr(ring.active)
    assert bytes.fromhex(seed) not in repr(ring).encode("latin-1", "replace")


@pytest.mark.parametrize(("umask", "public"), [(0o022, 0o444), (UMASK, 0o440)])
def test_keys_are_kept_when_another_signs(keys: Path, disk: Disk, umask: int, public: int) -> None:
    """The newest signs, the one before stays; secrets have mode 0400, public halves what the umask leaves."""
    before = active_public_key(keys)
    usual = os.umask(umask)
    try:
        new = new_signing_key(keys, disk)
    finally:
        os.umask(usual)
    ring = read_signing_ring(keys)
    assert before is not None
    assert ring is not None
    assert ring.active.public == new.public == active_public_key(keys)
    assert set(ring.keys) == {before.id, new.public.id}
    assert {path.stat().st_mode & 0o777 for path in signing_folder(keys).glob("*.key")} == {0o400}
    assert public_key_file(keys, new.public).stat().st_mode & 0o777 == public
    assert read_public_key(public_key_file(keys, new.public)) == new.public


def test_a_folder_without_signing_keys_has_none(tmp_path: Path) -> None:
    """Nothing was ever made: no key, and no error."""
    assert read_signing_ring(tmp_path) is None
    assert active_public_key(tmp_path) is None


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("mode", "0400"),
        ("content", "does not hold a signing key"),
        ("another", "holds the key"),
        ("active", "no such key beside it"),
        ("no active", "no file ACTIVE"),
    ],
)
def test_damaged_keys_are_named(keys: Path, damage: str, says: str) -> None:
    """Whatever is wrong with a key is one sentence that names the file and never its content."""
    path = next(signing_folder(keys).glob("*.key"))
    seed = path.read_text().strip()
    match damage:
        case "mode":
            path.chmod(0o440)
        case "active":
            (signing_folder(keys) / "ACTIVE").chmod(0o644)
            (signing_folder(keys) / "ACTIVE").write_text("0" * 16)
        case "no active":
            (signing_folder(keys) / "ACTIVE").unlink()
        case _:
            path.unlink()
            path.write_text("x" * 64 if damage == "content" else "1" * 64)
            path.chmod(0o400)
    with pytest.raises(AppiaError, match=says) as refused:
        read_signing_ring(keys)
    assert seed not in str(refused.value)


def test_a_public_key_of_another_form_is_refused(tmp_path: Path) -> None:
    """No file, too little, or the secret by mistake: the sentence says what is expected."""
    with pytest.raises(UsageError, match="cannot be read"):
        read_public_key(tmp_path / "none")
    (tmp_path / "short").write_text("ab")
    with pytest.raises(UsageError, match="64 hex characters"):
        read_public_key(tmp_path / "short")
    with pytest.raises(AppiaError, match="32 bytes"):
        PublicKey(b"short")


def test_a_copy_of_the_public_key_is_enough(keys: Path, tmp_path: Path) -> None:
    """The file of the public half can be read anywhere."""
    public = active_public_key(keys)
    assert public is not None
    shutil.copy(public_key_file(keys, public), tmp_path / "copy")
    assert read_public_key(tmp_path / "copy") == public


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, disk: Disk) -> None:
    """One sentence with the folder, as every other fault of a disk."""
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(AppiaError, match="keys/signing could not be made"):
        new_signing_key(tmp_path / "keys", disk)
