"""Makes a bundle: everything that a machine without the internet needs to run appia. `make bundle`, docs/bundle.md.

    python -m make.bundle --arch arm64 --suite bookworm --sign KEY

The bundle is `dist/appia-bundle-VERSION-ARCH/` and the same as one `.tar`. What was fetched before comes from a cache.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from make.bundle import debs, pack, wheels
from make.bundle.locked import controller_pins, runtime_pins
from make.bundle.target import MACHINES, SUITES, Target
from services.cli.store_folder import model_store_folder
from services.common.days.names import INDICES
from services.common.embedding.store import ModelStore, copy_active
from services.common.errors import AppiaError
from services.common.locks import locked_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FORMAT = 1
ROOT = Path(__file__).resolve().parents[2]
COPIED = ("deploy", "docs", "README.md", "LICENSE", "CHANGELOG.md")
OLDEST = 315_532_800
"""1980-01-01, before which no file of a wheel can be from: the time of all files where git does not tell one."""


@dataclass(frozen=True)
class Asked:
    """What was asked for on the command line."""

    target: Target
    release: str
    out: Path
    cache: Path
    models: Path
    key: Path | None


def main() -> None:
    """Make the bundle, and say where it is and how large."""
    asked = _asked(sys.argv[1:])
    key = pack.read_signing_key(asked.key) if asked.key else None
    asked.cache.mkdir(parents=True, exist_ok=True)
    with locked_folder(
        asked.cache
    ):  # a second run waits: both would fetch into it, and write the same bundle
        _report(_make(asked, key))


def _make(asked: Asked, key: Ed25519PrivateKey | None) -> Path:
    """Make the bundle beside its place, and put it there when it is whole."""
    epoch = int(_git("log", "-1", "--format=%ct") or OLDEST)
    name = f"appia-bundle-{asked.release}-{asked.target.arch}"
    staged, final = asked.out / f".{name}.new" / name, asked.out / name
    shutil.rmtree(staged.parent, ignore_errors=True)
    staged.mkdir(parents=True)
    _fill(staged, asked, epoch)
    pack.open_to_all(staged)
    pack.write_sums(staged)
    if key is not None:
        pack.sign(staged, key, asked.out / f"{name}.pub.pem")
    pack.archive(staged, asked.out / f"{name}.tar", epoch)
    shutil.rmtree(final, ignore_errors=True)
    staged.rename(final)
    staged.parent.rmdir()
    return final


def _asked(words: Sequence[str]) -> Asked:
    with (ROOT / "pyproject.toml").open("rb") as file:
        release = tomllib.load(file)["project"]["version"]
    parser = argparse.ArgumentParser(
        prog="make bundle", description="Make a bundle for machines without the internet."
    )
    parser.add_argument("--arch", choices=sorted(MACHINES), default="amd64", help="the processor")
    parser.add_argument("--suite", choices=sorted(SUITES), default="bookworm", help="the release of Debian")
    parser.add_argument(
        "--python", help="version of Python there, such as 3.11; that of the release where not given"
    )
    parser.add_argument("--release", default=release, help="the version that it calls itself")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder that it is made in")
    parser.add_argument("--models", type=Path, help="the model store; that of `appia models` where not given")
    parser.add_argument("--sign", type=Path, help="file of an Ed25519 key that the sums are signed with")
    given = parser.parse_args(words)
    if given.python and not re.fullmatch(r"3\.\d{1,2}", given.python):
        parser.error(f"--python {given.python!r} is not a version such as 3.11")
    if not re.fullmatch(r"\d+(\.\d+)*((a|b|rc)\d+)?(\+[a-z0-9.]+)?", given.release):
        parser.error(f"--release {given.release!r} is not a version such as 1.2.3 or 1.2.3+site1")
    target = Target(given.arch, given.suite, given.python or SUITES[given.suite][0])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "appia", "bundle")
    models = model_store_folder(given.models, os.environ)
    return Asked(target, given.release, given.out, cache, models, given.sign)


def _fill(bundle: Path, asked: Asked, epoch: int) -> None:
    target, folder = asked.target, bundle / "wheels"
    folder.mkdir()
    print(f"wheels for {target.arch}, Debian {target.suite}, Python {target.python}", flush=True)
    runtime, controller = runtime_pins(ROOT, target), controller_pins(ROOT, target)
    found = wheels.collect({**controller, **runtime}.values(), target, asked.cache / "wheels")
    placed = {name: Path(shutil.copyfile(path, folder / path.name)) for name, path in found.items()}
    own = wheels.build_own(ROOT, folder, asked.release, epoch)
    _list(folder / "requirements.txt", [own, *(placed[name] for name in runtime)])
    _list(folder / "controller.txt", [own, *(placed[name] for name in {**runtime, **controller})])
    print("models", flush=True)
    try:
        models = copy_active(ModelStore(asked.models), ModelStore(bundle / "models"), INDICES)
    except AppiaError as error:
        sys.exit(f"bundle: {error}")
    print("Debian packages", flush=True)
    packages = debs.collect(target, asked.cache / f"apt-{target.suite}-{target.arch}", bundle / "debs")
    for part in COPIED:
        _copy(part, bundle)
    shutil.copy(Path(__file__).with_name("verify.sh"), bundle / "verify.sh")
    _describe(bundle, asked, {"models": models, "debs": packages})


def _list(path: Path, files: Sequence[Path]) -> None:
    path.write_text(wheels.requirements(files), encoding="utf-8")


def _copy(part: str, bundle: Path) -> None:
    """What git has of a part of the project, as it lies here; all of it in a tree without git."""
    listed = [ROOT / name for name in _git("ls-files", "--", part).splitlines()]
    for path in listed or [ROOT / part, *(ROOT / part).rglob("*")]:
        if path.is_file():
            target = bundle / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)


def _describe(bundle: Path, asked: Asked, parts: dict[str, Any]) -> None:
    changed = _git("status", "--porcelain", "--", *wheels.SOURCES, *COPIED)
    described = {
        "format": FORMAT,
        "version": asked.release,
        "arch": asked.target.arch,
        "suite": asked.target.suite,
        "python": asked.target.python,
        "commit": _git("rev-parse", "HEAD") + ("-changed" if changed else ""),
        **parts,
    }
    (bundle / "bundle.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def _git(*words: str) -> str:
    """What git says of this checkout; nothing where it is none."""
    try:
        command = [shutil.which("git") or "git", "-C", str(ROOT), *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _report(bundle: Path) -> None:
    def size(folder: Path) -> float:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6

    for part in ("wheels", "models", "debs", "deploy", "docs"):
        print(f"{part:8}{size(bundle / part):7.1f} MB")
    print(f"{bundle}: {size(bundle):.1f} MB, and as one file: {bundle}.tar")
    print(f"sha256 of SHA256SUMS: {wheels.sha256_of(bundle / pack.SUMS)}")


if __name__ == "__main__":
    main()
