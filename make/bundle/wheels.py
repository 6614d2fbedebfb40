"""Fetches wheels for another machine, by hash, and builds the project's own: the same tree gives the same file."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from make.bundle.locked import Pin
    from make.bundle.target import Target

_VERSION = re.compile(r'^version = "[^"]*"$', re.MULTILINE)
SOURCES = ("services", "pyproject.toml", "README.md", "LICENSE")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def collect(pins: Iterable[Pin], target: Target, cache: Path) -> dict[str, Path]:
    """A wheel for each package, by name: from `cache`, into which what is missing is fetched. Blocks for minutes."""
    cache.mkdir(parents=True, exist_ok=True)
    wanted = {pin.name: pin for pin in pins}
    found = _fitting(wanted, target, cache)
    missing = [pin for name, pin in wanted.items() if name not in found]
    if missing:
        print(f"fetching {len(missing)} of {len(wanted)} wheels", flush=True)
        _download(missing, target, cache)
        found = _fitting(wanted, target, cache)
    lost = sorted(set(wanted) - set(found))
    if lost:
        sys.exit(f"bundle: no wheel of {', '.join(lost)} fits {target.arch} with Python {target.python}")
    return found


def _fitting(wanted: Mapping[str, Pin], target: Target, cache: Path) -> dict[str, Path]:
    """The best wheel of each package that lies there whole: one of the version and a hash of the lock."""
    ranks = {tag: rank for rank, tag in enumerate(target.tags())}
    best: dict[str, tuple[int, Path]] = {}
    for path in sorted(cache.glob("*.whl")):
        try:
            name, version, _, tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        rank = min((ranks[tag] for tag in tags if tag in ranks), default=len(ranks))
        pin, before = wanted.get(str(name)), best.get(str(name), (len(ranks), path))[0]
        if pin is None or rank >= before or str(version) != pin.version:
            continue
        if sha256_of(path) in pin.hashes:
            best[pin.name] = (rank, path)
    return {name: path for name, (_, path) in best.items()}


def _download(missing: Iterable[Pin], target: Target, cache: Path) -> None:
    """By pip, which compares hashes; conditions were decided before, for it would take this machine's answers."""
    version = target.python.replace(".", "")
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "-qq", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--dest", str(cache)]
    command += ["--python-version", target.python, "--implementation", "cp"]
    command += [word for abi in (f"cp{version}", "abi3", "none") for word in ("--abi", abi)]
    command += [word for platform in target.platforms for word in ("--platform", platform)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as listed:
        listed.write(spelled((pin.name, pin.version, pin.hashes) for pin in missing))
        listed.flush()
        done = subprocess.run([*command, "--requirement", listed.name], check=False)
    if done.returncode:
        sys.exit("bundle: the wheels could not be fetched: see pip's message above")


def spelled(entries: Iterable[tuple[str, str, Iterable[str]]]) -> str:
    """Name, version and SHA-256 hashes of each package as pip takes them with --require-hashes."""
    lines = (
        " \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{one}" for one in sorted(hashes))])
        for name, version, hashes in entries
    )
    return "\n".join(lines) + "\n"


def requirements(wheels: Iterable[Path]) -> str:
    """What pip installs from these files, each by its hash, and nothing else."""
    named = {path: parse_wheel_filename(path.name) for path in wheels}
    entries = ((str(name), str(version), [sha256_of(path)]) for path, (name, version, *_) in named.items())
    return spelled(sorted(entries))


def build_own(root: Path, target: Path, release: str, epoch: int) -> Path:
    """Build the project's wheel into `target`, from a copy of what belongs into it; gives the file.

    The time of the commit stands in it in place of now, so the same tree gives the same bytes
    (https://reproducible-builds.org/specs/source-date-epoch/).
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "tree")
        _copy_sources(root, copy)
        project = copy / "pyproject.toml"
        changed = _VERSION.sub(f'version = "{release}"', project.read_text(encoding="utf-8"), count=1)
        project.write_text(changed, encoding="utf-8")
        made = Path(scratch, "made")
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--disable-pip-version-check",
            "--quiet",
            "--no-deps",
        ]
        command += ["--no-build-isolation", "--wheel-dir", str(made), str(copy)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
        if subprocess.run(command, env=environment, check=False).returncode:
            sys.exit("bundle: the project's own wheel could not be built: see pip's message above")
        (wheel,) = made.glob("*.whl")
        return Path(shutil.copyfile(wheel, target / wheel.name))


def _copy_sources(root: Path, copy: Path) -> None:
    copy.mkdir()
    for name in SOURCES:
        if (root / name).is_dir():
            shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copyfile(root / name, copy / name)
    for path in sorted(copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # the umask of who builds is not part of it
