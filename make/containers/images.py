"""Makes the base image by debootstrap, and from it the images of the project by buildah; looks at what is in them."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from make.containers.report import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from make.containers.podman import Podman

ROOT = Path(__file__).resolve().parents[2]
APPIA, ETCD = "localhost/appia:latest", "localhost/appia-etcd:latest"
TOOLS = ("gcc", "cc", "make", "pip", "pip3", "git", "curl", "wget")
"""What has no place in an image that runs something."""
LOOK = """
id -u
for tool in {tools}; do command -v $tool >/dev/null && echo "has $tool"; done
python3 -c 'import pip' 2>/dev/null && echo "has pip"
python3 -c 'import setuptools' 2>/dev/null && echo "has setuptools"
find /opt/appia -name '*.pyc' | head -n 1 | grep -q . || echo "is not compiled"
find / -xdev -perm /6000 -type f -newer /opt/appia/pyvenv.cfg 2>/dev/null
appia models verify >&2
du -sm /opt/appia | cut -f 1
"""


@dataclass(frozen=True)
class Images:
    """Made with the store of `podman`; `bundle` is a folder of `make bundle`, empty for the package index."""

    podman: Podman
    suite: str
    bundle: str

    @property
    def base(self) -> str:
        """What stands in the place of Debian's own image."""
        return f"localhost/debian:{self.suite}-slim"

    def make_base(self) -> str:
        """From Debian's packages, unless it is there already. Blocks for a minute; needs the network."""
        if not self.podman.attempt(["podman", "image", "exists", self.base]).returncode:
            return f"{self.base} was there already"
        folder = self.podman.folder / f"debian-{self.suite}"
        if not (folder / "etc/debian_version").exists() or (folder / "debootstrap").exists():
            words = ["debootstrap", "--variant=minbase", "--include=ca-certificates", self.suite, str(folder)]
            self.podman.run(words, 600)
        self.podman.pipe(["podman", "import", "--change", "CMD=/bin/sh", "-", self.base], folder, 300)
        return f"{self.base}, {self.size(self.base)}"

    def build(self, target: str, tag: str) -> str:
        """One target of the Dockerfile. Blocks for minutes the first time; needs the network without a bundle."""
        words = ["buildah", "build", "--isolation", "chroot", "--layers", "--target", target, "--tag", tag]
        arguments = {"BASE": self.base, **({"BUNDLE": self.bundle} if self.bundle else {})}
        words += [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        self.podman.run([*words, *self._pip(), str(ROOT)], 900)
        return f"{tag}, {self.size(tag)}"

    def size(self, tag: str) -> str:
        """How large an image is, with what it stands on."""
        listed = self.podman.run(["podman", "image", "inspect", "--format", "{{.Size}}", tag])
        return f"{int(listed) // 1_000_000} MB"

    def look(self) -> str:
        """What the final image has; raises `Failed` where it has tools, or what is not whole."""
        command = [
            "podman",
            "run",
            "--rm",
            "--network",
            "none",
            "--read-only",
            "--cap-drop",
            "ALL",
            APPIA,
            "sh",
            "-c",
        ]
        words = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            'umount -q /sys/fs/cgroup/unified; exec "$@"',
            "sh",
            *command,
        ]
        said = self.podman.run([*words, LOOK.format(tools=" ".join(TOOLS))]).split("\n")
        user, *found, megabytes = [line for line in said if line]
        if user != "10001" or found:
            raise Failed(f"The image runs as {user}, and {', '.join(found) or 'nothing else is wrong'}")
        return f"user 10001, no compiler, no pip; /opt/appia has {megabytes} MB, models are whole"

    def _pip(self) -> Iterator[str]:
        """How pip of this machine finds packages, for the build: as a secret, and the folders that it names."""
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
        ).stdout
        said = re.findall(r"^(?:global|install|download)\.([\w-]+)='(.*)'$", listed, re.MULTILINE)
        settings = "".join(f"{name} = {value}\n" for name, value in said)
        secret = self.podman.folder / "pip.conf"
        secret.write_text(f"[global]\n{settings}")
        secret.chmod(0o600)
        yield from ("--secret", f"id=pip,src={secret}")
        # An index in a folder has its files beside it: so all of /opt/NAME, not /opt/NAME/simple alone.
        paths = [
            Path(path)
            for _, value in said
            for path in re.findall(r"(?<![\w:])/[\w./-]+|(?<=file://)/[\w./-]+", value)
        ]
        for place in sorted({Path(*path.parts[:3]) for path in paths if path.exists()}):
            yield from ("--volume", f"{place}:{place}:ro")
