"""Closes a bundle: the sums of its files, a signature over them, and one archive whose bytes follow from its files."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from make.bundle.wheels import sha256_of
from services.common.errors import AppiaError
from services.common.secret_files import read_secret_file

if TYPE_CHECKING:
    from collections.abc import Iterator

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
_MOST_KEY_BYTES = 4096


def open_to_all(bundle: Path) -> None:
    """Give every file and folder the mode that it has on other machines too: nothing in a bundle is secret."""
    for path in (bundle, *bundle.rglob("*")):
        runs = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if runs else 0o644)


def write_sums(bundle: Path) -> None:
    """Write the SHA-256 of every file, as sha256sum(1) reads them."""
    own = {bundle / SUMS, bundle / SIGNATURE}
    files = (path for path in _files(bundle) if path not in own)
    lines = [f"{sha256_of(path)}  ./{path.relative_to(bundle)}\n" for path in files]
    (bundle / SUMS).write_text("".join(lines), encoding="utf-8")


def _files(bundle: Path) -> Iterator[Path]:
    for path in sorted(bundle.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            sys.exit(f"bundle: {path} is neither a file nor a folder, and would not survive a USB stick")
        if path.is_file():
            yield path


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """An Ed25519 key as `openssl genpkey -algorithm ed25519` makes it, or the seed that `appia keys signing` makes."""
    try:
        content = read_secret_file(path, _MOST_KEY_BYTES)
    except AppiaError as error:
        sys.exit(f"bundle: {error}")
    try:
        if path.suffix == ".key":
            return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(content.decode("ascii").strip()))
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        sys.exit(
            f"bundle: {path} holds no Ed25519 key: give one of `openssl genpkey -algorithm ed25519` (PEM), or the file "
            "ID.key of `appia keys signing`"
        )
    return key


def sign(bundle: Path, key: Ed25519PrivateKey, public: Path) -> None:
    """Sign the sums, and write the public key to `public`, outside the bundle, in PEM as openssl reads it."""
    (bundle / SIGNATURE).write_bytes(key.sign((bundle / SUMS).read_bytes()))
    pem, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(pem, form))


def archive(bundle: Path, target: Path, epoch: int) -> None:
    """Write the folder as one tar file: the same files and modes give the same bytes, whoever packs them and when."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mtime = epoch
        return entry

    staged = target.with_name(f".{target.name}.new")
    with tarfile.open(staged, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in [bundle, *sorted(bundle.rglob("*"))]:
            name = Path(bundle.name, path.relative_to(bundle))
            tar.add(path, str(name), recursive=False, filter=plain)
    staged.replace(target)
