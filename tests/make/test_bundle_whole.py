"""A bundle that was changed on its way is told, by tools that every machine has; packing gives the same bytes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from make.bundle.pack import archive, open_to_all, read_signing_key, sign, write_sums
from services.common.chain.keys import new_signing_key
from services.common.durable import Disk

if TYPE_CHECKING:
    from collections.abc import Callable

VERIFY = Path(__file__).parents[2] / "make" / "bundle" / "verify.sh"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """One of three files, with its sums and the script that checks them."""
    root = tmp_path / "a stick" / "appia-bundle-1-amd64"
    (root / "wheels").mkdir(parents=True)
    (root / "wheels" / "a+b~1.whl").write_bytes(b"wheel")
    (root / "bundle.json").write_text("{}")
    shutil.copy(VERIFY, root)
    open_to_all(root)
    write_sums(root)
    return root


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A file with a signing key, as openssl makes it."""
    path = tmp_path / "release.pem"
    pem, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(Ed25519PrivateKey.generate().private_bytes(serialization.Encoding.PEM, pem, plain))
    path.chmod(0o400)
    return path


@pytest.fixture
def verify(bundle: Path, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Runs the script as a person does: from somewhere else, naming the key as seen from there."""
    shell = shutil.which("sh") or "sh"

    def run(*words: str) -> tuple[int, str]:
        command = [shell, str(bundle / "verify.sh"), *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_whole_bundle_is_whole(verify: Callable[..., tuple[int, str]]) -> None:
    """And it is said that this does not show who made it."""
    code, said = verify()
    assert code == 0
    assert "The bundle is whole. Who made it was not checked" in said


def _flip(root: Path) -> None:
    (root / "wheels" / "a+b~1.whl").write_bytes(b"whe3l")


def _cut(root: Path) -> None:
    (root / "bundle.json").unlink()


def _add(root: Path) -> None:
    (root / "wheels" / "evil.whl").write_bytes(b"")


def _link(root: Path) -> None:
    (root / "wheels" / "link.whl").symlink_to("/etc/passwd")


def _no_sums(root: Path) -> None:
    (root / "SHA256SUMS").unlink()


def _damaged_sums(root: Path) -> None:
    with (root / "SHA256SUMS").open("a") as file:
        file.write("what is this\n")


@pytest.mark.parametrize("harm", [_flip, _cut, _add, _link, _no_sums, _damaged_sums])
def test_any_change_is_told(
    bundle: Path, verify: Callable[..., tuple[int, str]], harm: Callable[[Path], None]
) -> None:
    harm(bundle)
    code, said = verify()
    assert code == 1
    assert "verify: " in said
    assert "is whole" not in said


def test_who_signed_it_is_proved_with_the_public_key(
    bundle: Path, verify: Callable[..., tuple[int, str]], key: Path, tmp_path: Path
) -> None:
    """The key is named as seen from where the script is called; another key is told from it."""
    sign(bundle, read_signing_key(key), tmp_path / "mine.pub.pem")
    assert verify("mine.pub.pem") == (0, "The bundle is whole, and signed with this key.\n")
    assert verify()[0] == 0
    sign(bundle, Ed25519PrivateKey.generate(), tmp_path / "other.pub.pem")
    code, said = verify("mine.pub.pem")
    assert code == 1
    assert "was not signed with this key" in said


@pytest.mark.parametrize("words", [("",), ("/nowhere",), ("a", "b")])
def test_a_key_that_is_none_never_does_without_the_signature(
    verify: Callable[..., tuple[int, str]], words: tuple[str, ...]
) -> None:
    """An empty name is that of a variable of a script that nobody set."""
    assert verify(*words) == (
        1,
        f"verify: '{' '.join(words)}' is no file of a public key: give one, or none\n",
    )


def test_sums_that_were_made_anew_after_a_change_do_not_pass_for_signed(
    bundle: Path, verify: Callable[..., tuple[int, str]], key: Path, tmp_path: Path
) -> None:
    sign(bundle, read_signing_key(key), tmp_path / "mine.pub.pem")
    _flip(bundle)
    write_sums_again = (bundle / "SHA256SUMS.sig").read_bytes()
    (bundle / "SHA256SUMS.sig").unlink()
    write_sums(bundle)
    assert "is not signed" in verify("mine.pub.pem")[1]
    (bundle / "SHA256SUMS.sig").write_bytes(write_sums_again)
    assert verify()[0] == 0
    assert verify("mine.pub.pem")[0] == 1


def test_the_commands_of_the_guide_sign_and_check(bundle: Path, tmp_path: Path) -> None:
    """Those with openssl in docs/bundle.md, as they stand."""
    guide = (VERIFY.parents[2] / "docs" / "bundle.md").read_text()
    generate, check = re.findall(r"^openssl .+$", guide, re.MULTILINE)
    shell = shutil.which("sh") or "sh"
    subprocess.run([shell, "-ec", generate], cwd=tmp_path, check=True, capture_output=True)
    sign(bundle, read_signing_key(tmp_path / "release.pem"), bundle / "release.pub.pem")
    done = subprocess.run([shell, "-ec", check], cwd=bundle, check=True, capture_output=True, text=True)
    assert "Verified Successfully" in done.stdout


def test_make_hands_over_what_the_guide_says(tmp_path: Path) -> None:
    """Each line with `make bundle` in it, and each variable of its table, reaches the program."""
    root = VERIFY.parents[2]
    guide = (root / "docs" / "bundle.md").read_text()
    words = set(re.findall(r"^make bundle\s+([A-Z]+)=", guide, re.MULTILINE))
    table = set(re.findall(r"^\| `([A-Z]+)` \|", guide, re.MULTILINE))
    assert words <= table == {"ARCH", "SUITE", "PYTHON", "SIGN", "MODELS", "RELEASE"}
    given = [f"{name}={name.lower()}-{tmp_path.name}" for name in sorted(table)]
    command = [shutil.which("make") or "make", "--dry-run", "bundle", *given]
    said = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    for name in table:
        assert re.search(rf"--{name.lower()} '?{name.lower()}-{re.escape(tmp_path.name)}'?", said)


def test_a_signing_key_of_appia_signs_too(
    bundle: Path, verify: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    made = new_signing_key(tmp_path / "keys", Disk())
    found = read_signing_key(tmp_path / "keys" / "signing" / f"{made.public.id}.key")
    assert found.public_key().public_bytes_raw() == made.public.raw
    sign(bundle, found, tmp_path / "mine.pub.pem")
    assert verify("mine.pub.pem")[0] == 0


def test_a_key_that_is_none_or_open_to_others_is_refused_and_not_quoted(key: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("hunter2")
    wrong.chmod(0o400)
    with pytest.raises(SystemExit, match="holds no Ed25519 key") as told:
        read_signing_key(wrong)
    assert "hunter2" not in str(told.value)
    key.chmod(0o644)
    with pytest.raises(SystemExit, match="must have 0400"):
        read_signing_key(key)


def test_the_archive_has_the_same_bytes_whenever_it_is_packed(bundle: Path, tmp_path: Path) -> None:
    """And what comes out of it is the bundle, with the modes that it shall have."""
    archive(bundle, tmp_path / "one.tar", epoch=1_790_000_000)
    os.utime(bundle / "bundle.json", (1, 1))
    archive(bundle, tmp_path / "two.tar", epoch=1_790_000_000)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert {entry.uid for entry in tar} == {0}
        tar.extractall(tmp_path / "out", filter="data")
    out = tmp_path / "out" / bundle.name
    assert {path.relative_to(out) for path in out.rglob("*")} == {
        path.relative_to(bundle) for path in bundle.rglob("*")
    }
    assert (out / "verify.sh").stat().st_mode & 0o777 == 0o755


def test_a_link_in_a_bundle_is_refused_when_it_is_made(bundle: Path) -> None:
    """A stick with a simple file system could not hold it."""
    _link(bundle)
    with pytest.raises(SystemExit, match="neither a file nor a folder"):
        write_sums(bundle)
