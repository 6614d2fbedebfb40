"""The bundle that a fleet is installed from, and others of the same tree under another version: good ones, broken ones.

Only the project's own wheel differs, as between two real releases whose packages stayed the same; everything else is
the same files once more (hard links), so that a version more costs a second.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from make.bundle.pack import write_sums
from make.bundle.wheels import requirements
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
BROKEN = "services/rag/main.py"
"""What a broken release is broken in: replicas do not start."""
_BREAK = b'raise SystemExit("This release is broken on purpose.")\n'


def newest_bundle(folder: Path, arch: str) -> Path:
    """The newest bundle that `make bundle` left in `folder`.

    Raises UsageError where there is none.
    """
    found = sorted(folder.glob(f"appia-bundle-*-{arch}/SHA256SUMS"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(f"There is no bundle for {arch} in {folder}: make one with `make bundle`.")
    return found[-1].parent


def version_of(bundle: Path) -> str:
    """The version that a bundle says it is."""
    return str(json.loads((bundle / "bundle.json").read_text())["version"])


def place(bundle: Path, target: Path) -> Path:
    """Have a bundle at `target` too, without a copy of its files where the disk allows it; gives `target`."""
    shutil.copytree(bundle, target, copy_function=_link)
    return target


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def derive(bundle: Path, target: Path, version: str, *, broken: bool = False) -> Path:
    """Make a bundle of another version at `target`; with `broken` its replicas do not start. Gives `target`."""
    place(bundle, target)
    wheels = target / "wheels"
    (own,) = wheels.glob("appia-*.whl")
    renamed = wheels / own.name.replace(f"-{version_of(bundle)}-", f"-{version}-", 1)
    _rewrite(own, renamed, version_of(bundle), version, {BROKEN: _BREAK} if broken else {})
    own.unlink()
    for listed in (wheels / "requirements.txt", wheels / "controller.txt"):
        _replace(listed, _with_own(listed.read_text().split("\n")[:-1], renamed))
    described = {**json.loads((target / "bundle.json").read_text()), "version": version}
    _replace(target / "bundle.json", json.dumps(described, indent=1) + "\n")
    (target / "SHA256SUMS").unlink()
    (target / "SHA256SUMS.sig").unlink(missing_ok=True)
    write_sums(target)
    return target


def _with_own(listed: list[str], own: Path) -> str:
    """The list of packages with another wheel of our own; each entry is a name and, below it, its hashes."""
    begin = next(number for number, line in enumerate(listed) if line.startswith("appia=="))
    end = next((number for number in range(begin + 1, len(listed)) if listed[number][:1] != " "), len(listed))
    return "\n".join([*listed[:begin], requirements([own]).strip("\n"), *listed[end:]]) + "\n"


def _replace(path: Path, text: str) -> None:
    """Write a new file in place of a link: the bundle that it is of keeps its own."""
    path.unlink()
    path.write_text(text)


def _rewrite(source: Path, target: Path, before: str, after: str, instead: Mapping[str, bytes]) -> None:
    """A wheel of another version (PEP 427), with other content of some files."""
    info_before, info_after = f"appia-{before}.dist-info/", f"appia-{after}.dist-info/"
    record = []
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name == f"{info_before}RECORD":
                continue
            content = instead.get(name) or old.read(name)
            renamed = name.replace(info_before, info_after, 1)
            if renamed == f"{info_after}METADATA":
                content = content.replace(
                    f"\nVersion: {before}\n".encode(), f"\nVersion: {after}\n".encode(), 1
                )
            new.writestr(renamed, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{renamed},sha256={digest},{len(content)}")
        new.writestr(f"{info_after}RECORD", "\n".join([*record, f"{info_after}RECORD,,", ""]))


def built_bundle(arch: str = "amd64") -> Path:
    """The newest bundle in `dist/`, or where `APPIA_BUNDLE` says; raises UsageError where there is none."""
    named = os.environ.get("APPIA_BUNDLE")
    return Path(named) if named else newest_bundle(ROOT / "dist", arch)


if __name__ == "__main__":
    sys.stdout.write(f"{built_bundle()}\n")
