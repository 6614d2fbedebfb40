"""Debian packages of a bundle, fetched by the real apt from a small repository of this test's own."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from make.bundle import debs
from make.bundle.target import Target

if TYPE_CHECKING:
    from pathlib import Path

TARGET = Target("arm64", "bookworm", "3.11")
BASE = {"base": "Essential: yes", "dpkg": "Priority: required", "apt": "Depends: libapt"}
OTHERS = {"libapt": "", "libetcd": "", "unrelated": ""}
NODE = dict.fromkeys(debs.PACKAGES, "Depends: libetcd, base")


def _stanza(pool: Path, name: str, fields: str) -> str:
    """A package that is only fetched and never unpacked; the version has an epoch, which file names lack."""
    file = f"{name}_1.0-1_arm64.deb"
    content = f"package {name}".encode()
    (pool / file).write_bytes(content)
    lines = [f"Package: {name}", "Version: 2:1.0-1", "Architecture: arm64", "Maintainer: a test"]
    lines += [fields] if fields else []
    lines += [f"Filename: pool/{file}", f"Size: {len(content)}"]
    lines += [f"SHA256: {hashlib.sha256(content).hexdigest()}", f"Description: {name} of a test"]
    return "\n".join(lines) + "\n"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository like Debian's, without its updates, that apt is set up to use on this machine."""
    if shutil.which("apt-get") is None:
        pytest.skip("apt-get is not installed")
    root = tmp_path / "debian"
    lists = root / "dists" / "bookworm" / "main" / "binary-arm64"
    lists.mkdir(parents=True)
    (root / "pool").mkdir()
    stanzas = [_stanza(root / "pool", *one) for one in {**BASE, **OTHERS, **NODE}.items()]
    index = "\n".join(stanzas).encode()
    sums = []
    for name, content in (("Packages", index), ("Packages.gz", gzip.compress(index))):
        (lists / name).write_bytes(content)
        sums.append(f" {hashlib.sha256(content).hexdigest()} {len(content)} main/binary-arm64/{name}\n")
    (root / "dists" / "bookworm" / "Release").write_text(
        "Origin: Debian\nSuite: stable\nCodename: bookworm\nArchitectures: amd64 arm64\nComponents: main\n"
        f"Date: Sat, 21 Nov 2026 00:00:00 UTC\nSHA256:\n{''.join(sums)}"
    )
    (tmp_path / "sources.list").write_text(f"deb [arch=arm64] file:{root} bookworm main\n")
    config = tmp_path / "apt.conf"
    config.write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "-";\n'
        'Acquire::AllowInsecureRepositories "true";\nAPT::Get::AllowUnauthenticated "true";\n'
        'Acquire::Languages "none";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(config))
    return root


def test_what_nodes_need_beyond_a_minimal_debian_is_taken_and_indexed(source: Path, tmp_path: Path) -> None:
    """Not what every Debian has, nor what nobody asked for; apt reads the folder as a repository."""
    repository = tmp_path / "debs"
    taken = debs.collect(TARGET, tmp_path / "cache", repository)
    names = {*debs.PACKAGES, "libetcd"}
    assert {one.split("=")[0] for one in taken} == names
    assert {path.name for path in repository.glob("*.deb")} == {f"{name}_1.0-1_arm64.deb" for name in names}
    for path in repository.glob("*.deb"):
        assert path.read_bytes() == (source / "pool" / path.name).read_bytes()
    assert {path.name for path in repository.glob("*.deb")} == _readable(repository, tmp_path / "reader")


def _readable(repository: Path, state: Path) -> set[str]:
    """The files that apt would take to install everything from `repository`, with a state of its own."""
    (state / "lists" / "partial").mkdir(parents=True)
    (state / "status").touch()
    (state / "list").write_text(f"deb [trusted=yes] file:{repository} ./\n")
    options = [
        f"Dir::State={state}", f"Dir::State::lists={state / 'lists'}", f"Dir::State::status={state / 'status'}",
        f"Dir::Cache={state}", f"Dir::Etc::sourcelist={state / 'list'}", "APT::Architecture=arm64",
        "APT::Architectures=arm64",
    ]  # fmt: skip
    command = [shutil.which("apt-get") or "apt-get", *(word for one in options for word in ("-o", one))]
    subprocess.run([*command, "update"], check=True, capture_output=True)
    # What is in every Debian is not in the folder: only names and sums are read here.
    done = subprocess.run([*command, "download", "--print-uris", *debs.PACKAGES, "libetcd"],
                          check=True, capture_output=True, text=True)  # fmt: skip
    return {line.split("'")[1].rpartition("/")[2] for line in done.stdout.splitlines()}


def test_a_second_run_takes_what_was_fetched_before(source: Path, tmp_path: Path) -> None:
    first = debs.collect(TARGET, tmp_path / "cache", tmp_path / "one")
    shutil.rmtree(source / "pool")
    assert debs.collect(TARGET, tmp_path / "cache", tmp_path / "two") == first


def test_a_package_that_is_not_what_the_index_says_stops_everything(source: Path, tmp_path: Path) -> None:
    for path in (source / "pool").glob("etcd-server*"):
        path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(SystemExit, match="apt-get download failed"):
        debs.collect(TARGET, tmp_path / "cache", tmp_path / "debs")


def test_a_machine_without_debian_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="fetched by apt"):
        debs.collect(TARGET, tmp_path / "cache", tmp_path / "debs")
