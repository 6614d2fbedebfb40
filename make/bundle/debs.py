"""Fetches Debian packages and what they need beyond a minimal Debian, into a repository that apt reads from a folder.

apt does it, with folders of its own, for any processor and release: it knows where packages come from on this machine,
and checks them against the signed index. Nothing of this machine's own packages is read or changed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from make.bundle.wheels import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from make.bundle.target import Target

PACKAGES = ("etcd-server", "etcd-client", "nftables", "python3-apt", "python3-venv")
"""What nodes need: python3-apt is how Ansible asks about packages."""
MINIMAL = ("?essential", "?priority(required)", "apt")
"""Patterns of what every Debian has, as debootstrap's smallest variant does."""
_INSTALLED = re.compile(r"^Inst (?P<name>\S+?)(?::\w+)? \((?P<version>\S+) ", re.MULTILINE)
_FIELD = re.compile(r"^([A-Z][\w-]*): (.*)$", re.MULTILINE)
_SOURCE = re.compile(
    r"^'(?P<uri>\S*debian\S*)/dists/[a-z]+(?P<pocket>|-updates|-security)/InRelease'", re.MULTILINE
)
"""Where Debian, its updates and its security fixes come from, whichever release this machine takes from there."""


@dataclass(frozen=True)
class Apt:
    """apt with a state of its own below `folder`."""

    folder: Path
    target: Target

    def prepare(self) -> None:
        """Make its folders, and fetch the index of packages. Blocks for seconds."""
        (self.folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        self.status.write_text("")
        (self.folder / "sources.list").write_text(self._sources())
        self.run("apt-get", "update", "--quiet")

    def _sources(self) -> str:
        """Where this machine gets Debian from, for the release that is asked for."""
        command = [shutil.which("apt-get") or "apt-get", "update", "--print-uris"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        pockets = {(one["uri"], one["pocket"]) for one in _SOURCE.finditer(said)}
        if not pockets:
            sys.exit("bundle: apt on this machine has no source of Debian packages: see sources.list(5)")
        return "".join(f"deb {uri} {self.target.suite}{pocket} main\n" for uri, pocket in sorted(pockets))

    @property
    def status(self) -> Path:
        """What apt takes for installed."""
        return self.folder / "status"

    def run(self, tool: str, *words: str, cwd: Path | None = None) -> str:
        """What a tool of apt says; ends with its message where it fails."""
        own = {
            "Dir::State": self.folder,
            "Dir::State::lists": self.folder / "lists",
            "Dir::State::status": self.status,
            "Dir::Cache": self.folder / "cache",
            "Dir::Etc::sourcelist": self.folder / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "APT::Architecture": self.target.arch,
            "APT::Architectures": self.target.arch,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
        }
        options = [word for name, value in own.items() for word in ("-o", f"{name}={value}")]
        done = subprocess.run([tool, *options, *words], cwd=cwd, check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"bundle: {tool} {words[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def plan(self, packages: Iterable[str]) -> list[str]:
        """NAME=VERSION of what installing `packages` would add to what is taken for installed."""
        said = self.run("apt-get", "install", "--simulate", "--quiet", *packages)
        return [f"{found['name']}={found['version']}" for found in _INSTALLED.finditer(said)]

    def stanzas(self, packages: Iterable[str]) -> list[str]:
        """What the signed index says of each NAME=VERSION."""
        said = self.run("apt-cache", "show", "--no-all-versions", *packages)
        return [stanza.strip() for stanza in said.split("\n\n") if stanza.strip()]


@dataclass(frozen=True)
class Package:
    """One package, as the signed index has it."""

    stanza: str
    fields: Mapping[str, str]

    @classmethod
    def of(cls, stanza: str) -> Package:
        """That of a stanza of the index."""
        return cls(stanza, dict(_FIELD.findall(stanza)))

    @property
    def pin(self) -> str:
        """NAME=VERSION."""
        return f"{self.fields['Package']}={self.fields['Version']}"

    @property
    def file(self) -> str:
        """Its name in a repository."""
        return self.fields["Filename"].rpartition("/")[2]

    @property
    def kept_as(self) -> str:
        """Its name as apt fetches it, which has the epoch of the version."""
        version = self.fields["Version"].replace(":", "%3a")
        return f"{self.fields['Package']}_{version}_{self.fields['Architecture']}.deb"

    def is_whole(self, folder: Path) -> bool:
        """Whether it lies in `folder`, and is what the index says."""
        path = folder / self.kept_as
        return path.exists() and sha256_of(path) == self.fields["SHA256"]

    def in_folder(self) -> str:
        """Its stanza in the index of a folder of packages."""
        return re.sub(r"^Filename: .*$", f"Filename: ./{self.file}", self.stanza, flags=re.MULTILINE)


def collect(target: Target, cache: Path, repository: Path) -> list[str]:
    """Fill the folder `repository` with the packages of a node and an index of them; gives NAME=VERSION of each.

    Files that `cache` has are not fetched again. Blocks for a minute otherwise.
    """
    if shutil.which("apt-get") is None:
        sys.exit("bundle: Debian packages are fetched by apt, which this machine has not: see docs/bundle.md")
    apt = Apt(cache, target)
    apt.prepare()
    minimal = apt.stanzas(apt.plan(MINIMAL))
    apt.status.write_text("".join(f"{stanza}\nStatus: install ok installed\n\n" for stanza in minimal))
    wanted = [Package.of(stanza) for stanza in apt.stanzas(apt.plan(PACKAGES))]
    kept = cache / "debs"
    kept.mkdir(exist_ok=True)
    missing = [one.pin for one in wanted if not one.is_whole(kept)]
    if missing:
        print(f"fetching {len(missing)} of {len(wanted)} packages", flush=True)
        apt.run("apt-get", "download", "--quiet", *missing, cwd=kept)
    repository.mkdir(parents=True)
    for one in wanted:
        if not one.is_whole(kept):
            sys.exit(f"bundle: apt fetched {one.pin}, and it is not what the index says: try again later")
        shutil.copyfile(kept / one.kept_as, repository / one.file)
    index = "\n\n".join(sorted(one.in_folder() for one in wanted)) + "\n"
    (repository / "Packages").write_text(index, encoding="utf-8")
    return sorted(one.pin for one in wanted)
