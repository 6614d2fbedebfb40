"""The disk that every machine starts from: a small Debian with systemd, ssh and the Python that Ansible needs.

It is what an administrator has after a minimal installation, and nothing of what appia needs beyond that: this has
to come out of the bundle. debootstrap makes it once, from where this machine's own apt gets its packages:
`python -m fleet.image` (with `tests` on the path; `make machines` does that).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

SUITE = "bookworm"
VERSION = "1"  # another one where what is done to an image changes: the old ones are not used then
PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "openssh-server",
    "procps",
    "python3",
    "systemd",
    "systemd-sysv",
)
NEEDED = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
"""Each tool, and the Debian package that has it."""


def why_not() -> str | None:
    """Why this computer cannot have machines, in one sentence; None where it can."""
    if os.geteuid() != 0:
        return "Machines need root: they are containers with namespaces, mounts and a bridge of their own."
    missing = sorted({package for tool, package in NEEDED.items() if shutil.which(tool) is None})
    if missing:
        return f"Machines need these Debian packages: {', '.join(missing)}."
    return None


def cache_folder() -> Path:
    """Where images are kept: below the cache folder of the user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "appia" / "fleet"


def why_no_image() -> str | None:
    """Why nothing can be tried on machines here and now, in one sentence; None where it can."""
    is_there = _image(cache_folder(), SUITE, PACKAGES).is_dir()
    return why_not() or (
        None if is_there else "There is no image of a machine yet: `make machines` makes it, once."
    )


def base_image(cache: Path | None = None, suite: str = SUITE, packages: Sequence[str] = PACKAGES) -> Path:
    """The root folder of the image; made where it is not there yet (a minute, and needs the network).

    Nobody may write into it: machines have it as the lower layer of theirs. Blocks while another process makes it.
    Raises UsageError where it cannot be made.
    """
    image = _image(cache_folder() if cache is None else cache, suite, packages)
    image.parent.mkdir(parents=True, exist_ok=True)
    with (image.parent / "making.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.is_dir():
            _make(image, suite, packages)
    return image


def _image(folder: Path, suite: str, packages: Sequence[str]) -> Path:
    wanted = hashlib.sha256(" ".join((VERSION, suite, *packages)).encode()).hexdigest()[:12]
    return folder / f"{suite}-{wanted}"


def _make(image: Path, suite: str, packages: Sequence[str]) -> None:
    """Into a folder beside it first: an image is whole, or not there."""
    if reason := why_not():
        raise UsageError(reason)
    unfinished = image.with_suffix(".going")
    shutil.rmtree(unfinished, ignore_errors=True)
    words = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, str(unfinished)]
    made = subprocess.run([*words, *_mirror(suite)], input="", capture_output=True, text=True, check=False)
    if made.returncode != 0:
        said = "; ".join(made.stdout.strip().splitlines()[-3:])
        raise UsageError(f"debootstrap made no image of {suite}: {said}")
    _tidy(unfinished)
    unfinished.rename(image)


def _mirror(suite: str) -> list[str]:
    """Where apt of this machine gets `suite` from; nothing where it does not, which leaves it to debootstrap."""
    command = [
        "apt-get",
        "indextargets",
        "--format",
        "$(CODENAME) $(COMPONENT) $(REPO_URI)",
        "Created-By: Packages",
    ]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    rows = (line.split() for line in listed.splitlines())
    return next(([row[2]] for row in rows if row[:2] == [suite, "main"] and len(row) == 3), [])


def _tidy(root: Path) -> None:
    """Take away what each machine has to make for itself, and what only takes room."""
    for pattern in (
        "etc/ssh/ssh_host_*",
        "etc/machine-id",
        "etc/hostname",
        "etc/resolv.conf",
        "var/cache/apt/archives/*.deb",
    ):
        for path in root.glob(pattern):
            path.unlink()
    shutil.rmtree(root / "var/lib/apt/lists")
    (root / "var/lib/apt/lists").mkdir()
    (root / "etc/resolv.conf").touch()  # no name server: a name that is not in its list of hosts is none
    # An administrator in a test has no other way in than the key.
    settings = root / "etc/ssh/sshd_config.d/fleet.conf"
    settings.write_text("PasswordAuthentication no\nPermitRootLogin prohibit-password\nUseDNS no\n")


def main() -> int:
    """Make the image where it is not there yet; gives the exit status."""
    try:
        sys.stdout.write(f"Machines start from {base_image()}.\n")
    except UsageError as error:
        sys.stderr.write(f"make machines: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
