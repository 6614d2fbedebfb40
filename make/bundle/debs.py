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

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from make.bundle.target import Target

PACKAGES = ("etcd-server", "etcd-client", "nftables", "python3-apt", "python3-venv")
"""What nodes need: python3-apt is how Ansible asks about packages."""
MINIMAL = ("?essential", "?priority(required)", "apt")
"""Patterns of what every Debian has, as debootstrap's smallest variant does."""
_INSTALLED = re.compile(r"^Inst (?P<name>\S+?)(?::\w+)? \((?P<version>\S+) ", re.MULTILINE)
_FILENAME = re.compile(r"^Filename: .*/(?P<file>[^/\n]+)$", re.MULTILINE)
_SOURCE = re.compile(r"^(?P<uri>\S*debian\S*) [a-z]+(?P<pocket>|-updates|-security)$", re.MULTILINE)
"""Where Debian, its updates and its security fixes come from, whichever release this machine takes from there."""


@dataclass(frozen=True)
class Apt:
    """apt with a state of its own below `folder`."""

    folder: Path
    target: Target

    def prepare(self) -> None:
        """Make its folders, and fetch the index of packages. Blocks for seconds."""
        for part in ("lists/partial", "cache/archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        self.status.write_text("")
        (self.folder / "sources.list").write_text(self._sources())
        self.run("apt-get", "update", "--quiet")

    def _sources(self) -> str:
        """Where this machine gets Debian from, for the release that is asked for."""
        command = [shutil.which("apt-get") or "apt-get", "indextargets", "Created-By: Packages"]
        command += ["--format", "$(REPO_URI) $(RELEASE)"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        pockets = {(one["uri"], one["pocket"]) for one in _SOURCE.finditer(said)}
        if not pockets:
            sys.exit("bundle: apt on this machine has no source of Debian packages: see sources.list(5)")
        return "".join(f"deb {uri} {self.target.suite}{pocket} main\n" for uri, pocket in sorted(pockets))

    @property
    def status(self) -> Path:
        """What apt takes for installed."""
        return self.folder / "status"

    def run(self, tool: str, *words: str) -> str:
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
        }
        options = [word for name, value in own.items() for word in ("-o", f"{name}={value}")]
        done = subprocess.run([tool, *options, *words], check=False, capture_output=True, text=True)
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
    wanted = apt.plan(PACKAGES)
    apt.run("apt-get", "install", "--download-only", "--yes", "--quiet", *PACKAGES)
    repository.mkdir(parents=True)
    stanzas = apt.stanzas(wanted)
    for stanza in stanzas:
        _take(stanza, cache / "cache" / "archives", repository)
    index = "\n\n".join(_FILENAME.sub(r"Filename: ./\g<file>", stanza) for stanza in sorted(stanzas)) + "\n"
    (repository / "Packages").write_text(index, encoding="utf-8")
    return sorted(wanted)


def _take(stanza: str, archives: Path, repository: Path) -> None:
    """Copy one package under the name that the index has, which lacks the epoch that apt's own name has."""
    fields = dict(line.split(": ", 1) for line in stanza.splitlines() if re.match(r"[A-Z]\S*: ", line))
    version = fields["Version"].replace(":", "%3a")
    kept = archives / f"{fields['Package']}_{version}_{fields['Architecture']}.deb"
    shutil.copyfile(kept, repository / fields["Filename"].rpartition("/")[2])
