"""Containers of one's own: podman and buildah with a store, networks and locks that nothing else uses.

What this sets is for a machine that has no container engine set up, and may be a container itself: no systemd, no
right to raise limits, control groups that can only be read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from make.containers.report import Failed

if TYPE_CHECKING:
    from collections.abc import Sequence

NEEDED = {
    "buildah": "buildah",
    "conmon": "conmon",
    "crun": "crun",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "podman": "podman",
    "unshare": "util-linux",
}
"""Each tool, and the Debian package that has it."""
NETAVARK = "/usr/lib/podman/netavark"
ENTERED = """\
umount -q /sys/fs/cgroup/unified
mkdir -p /run/containers/networks
mount -t tmpfs tmpfs /run/containers/networks
ip link set lo up
exec "$@"
"""
"""crun takes no mixture of both versions of control groups; which addresses are taken is kept in one place for all."""
STORAGE = """\
[storage]
driver = "overlay"
runroot = "{folder}/run"
graphroot = "{folder}/graph"
"""
CONTAINERS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{folder}/tmp"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""


def why_not() -> str:
    """Why this machine cannot run containers, in one sentence; empty where it can."""
    if os.geteuid() != 0:
        return "Containers are run with namespaces of their own, which needs root."
    missing = {package for tool, package in NEEDED.items() if shutil.which(tool) is None}
    if not Path(NETAVARK).exists():
        missing.add("netavark")
    return f"These Debian packages are needed: {', '.join(sorted(missing))}." if missing else ""


@dataclass(frozen=True)
class Podman:
    """Runs commands with the store in `folder`; `inside`: in the namespaces of the containers."""

    folder: Path

    def prepare(self) -> None:
        """Write the settings, and forget what ran before: it ended with its namespaces, as at the end of a machine."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("run", "tmp", "networks"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name, text in (("storage.conf", STORAGE), ("containers.conf", CONTAINERS)):
            (self.folder / name).write_text(text.format(folder=self.folder))

    @property
    def environment(self) -> dict[str, str]:
        """What podman and all that start it read."""
        return {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
        }

    def run(self, words: Sequence[str], within_s: float = 60) -> str:
        """Run a command and give what it says on standard output; blocks for at most `within_s` seconds.

        Raises:
            Failed: its exit status is not 0, or it takes longer.
        """
        done = self.attempt(words, within_s)
        if done.returncode:
            said = " ".join([*done.stdout.strip().splitlines()[-3:], *done.stderr.strip().splitlines()[-3:]])
            raise Failed(f"`{' '.join(words)[:200]}` ended with {done.returncode}: {said[-600:]}")
        return done.stdout

    def attempt(self, words: Sequence[str], within_s: float = 60) -> subprocess.CompletedProcess[str]:
        """The same for a command that may fail. Raises `Failed` where it takes longer."""
        try:
            return subprocess.run(
                words,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=within_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"`{' '.join(words)[:200]}` took longer than {within_s:.0f} s") from None

    def pipe(self, words: Sequence[str], content: Path, within_s: float) -> None:
        """Run a command that reads `content`, an archive of a folder made as it goes. Raises `Failed` as `run` does."""
        command = ["tar", "--directory", str(content), "--one-file-system", "--create", "."]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as tar:
            done = subprocess.run(
                words,
                env=self.environment,
                stdin=tar.stdout,
                capture_output=True,
                timeout=within_s,
                check=False,
            )
        if done.returncode or tar.returncode:
            raise Failed(f"`{' '.join(words)}` ended with {done.returncode}: {done.stderr.decode()[-300:]}")
