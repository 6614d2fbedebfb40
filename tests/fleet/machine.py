"""One machine: a real systemd in a container, with a disk of its own that outlives a power cut."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.network import Place, command

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Mapping

BOOT_WITHIN_S = 60.0
OFF_WITHIN_S = 90.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CGROUPS = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
# nspawn makes the groups of its machine below the one it runs in, always by the same names: each needs one of its own.
_START = (
    'for top in $TOPS; do if [ -w "$top/cgroup.procs" ]; then mkdir -p "$top/$GROUP" && '
    'echo $$ > "$top/$GROUP/cgroup.procs"; fi; done; exec "$@"'
)


@dataclass(frozen=True)
class Disk:
    """Where a machine's files are: the image that it shares, and its own folder."""

    image: Path
    folder: Path

    @property
    def root(self) -> Path:
        """The machine's `/`, as this computer sees it; also while the machine is off."""
        return self.folder / "root"

    def mount(self) -> None:
        """Lay the machine's own layer over the image."""
        for name in ("root", "own", "work"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={self.image},upperdir={self.folder / 'own'},workdir={self.folder / 'work'}"
        command("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))

    def remove(self) -> None:
        """Unmount it and remove what the machine wrote."""
        with suppress(subprocess.CalledProcessError):
            command("umount", "--lazy", str(self.root))
        command("rm", "-rf", "--one-file-system", str(self.folder))


@dataclass(frozen=True)
class Login:
    """Who comes in by ssh: root, or a user who becomes root by sudo, with the password where sudo asks for one."""

    user: str = "root"
    password: str = field(default="", repr=False)

    def as_root(self, line: str) -> str:
        """What is typed so that root does it; sudo reads the password from its standard input."""
        return line if self.user == "root" else f"sudo --stdin --prompt= sh -c {shlex.quote(line)}"


class Machine:
    """A container with a systemd, an sshd and an address; `binds` are paths of this computer that it may read."""

    def __init__(self, place: Place, disk: Disk, key: Path, binds: Mapping[Path, Path]) -> None:
        """Nothing runs yet: `boot` it. `key` is the private key that its root lets in."""
        self.name, self.address, self.place, self.disk = place.name, place.address, place, disk
        self.login = Login()
        self._key, self._binds = key, binds
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    @property
    def root(self) -> Path:
        """The machine's `/`, as this computer sees it."""
        return self.disk.root

    @property
    def pid(self) -> int:
        """The process number of its systemd on this computer; 0 while it is off."""
        return self._leader

    @property
    def log(self) -> Path:
        """What it wrote on its console."""
        return self.disk.folder / "console.log"

    def boot(self) -> None:
        """Switch it on, and wait until its systemd says that it is up. Raises AppiaError where it does not."""
        binds = [f"--bind-ro={here}:{there}" for here, there in self._binds.items()]
        words = [
            *(
                "systemd-nspawn",
                "--quiet",
                "--boot",
                f"--directory={self.root}",
                f"--machine={self.place.namespace}",
            ),
            *("--register=no", "--keep-unit", "--console=read-only", "--resolv-conf=off", "--timezone=off"),
            *("--link-journal=no", f"--network-namespace-path=/run/netns/{self.place.namespace}", *binds),
            "--capability=CAP_NET_ADMIN",  # a firewall of its own; nspawn gives it with --private-network only
        ]
        environment = {**os.environ, "TOPS": " ".join(CGROUPS), "GROUP": self.place.namespace}
        with self.log.open("ab") as log:
            self._nspawn = subprocess.Popen(
                ["/bin/sh", "-c", _START, "sh", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C is for who asked for the machine, who then switches it off in order
            )
        self._wait_running()

    def _wait_running(self) -> None:
        until = time.monotonic() + BOOT_WITHIN_S
        state = "off"
        while time.monotonic() < until and self.is_on():
            self._leader = self._find_leader()
            if self._leader:
                state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
                if state in {"running", "degraded"}:
                    return
            time.sleep(0.05)
        raise AppiaError(f"{self.name} did not come up ({state or 'no systemd'}): {self.last_words()}")

    def _find_leader(self) -> int:
        """The child of nspawn that is number 1 in its own process namespace."""
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        with suppress(OSError):
            for child in children.read_text().split():
                status = Path(f"/proc/{child}/status").read_text().splitlines()
                if any(line.split()[0] == "NSpid:" and line.split()[-1] == "1" for line in status if line):
                    return int(child)
        return 0

    def is_on(self) -> bool:
        """Whether it is switched on."""
        return self._nspawn is not None and self._nspawn.poll() is None

    def poweroff(self) -> None:
        """Switch it off in order: its services are stopped. Raises AppiaError where it does not end."""
        if self._nspawn is None:
            return
        with suppress(ProcessLookupError):
            self._nspawn.send_signal(signal.SIGTERM)
        try:
            self._nspawn.wait(OFF_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.cut_power()
            raise AppiaError(f"{self.name} was not off after {OFF_WITHIN_S:.0f} s: power cut.") from None
        self._gone()

    def cut_power(self) -> None:
        """End all its processes in the middle of what they do. Its disk keeps what they wrote, as they wrote it."""
        if self._nspawn is None:
            return
        if self._leader:
            with suppress(ProcessLookupError):
                os.kill(
                    self._leader, signal.SIGKILL
                )  # the first process of a namespace takes the others with it
        try:
            self._nspawn.wait(10)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._gone()

    def _gone(self) -> None:
        self._nspawn, self._leader = None, 0

    def run(
        self, *words: str, check: bool = True, given: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, without ssh; blocks. With `check` a failure raises AppiaError with what was said."""
        inside = [
            "nsenter",
            "--target",
            str(self._leader),
            "--all",
            "--",
            "env",
            "-i",
            f"PATH={PATH}",
            "HOME=/root",
        ]
        run = subprocess.run(
            [*inside, *words], input=given or "", capture_output=True, text=True, check=False
        )
        if check and run.returncode != 0:
            said = (run.stderr or run.stdout).strip()
            raise AppiaError(f"{self.name}: {shlex.join(words)} ended with {run.returncode}: {said}")
        return run

    def ssh(
        self, line: str, *, check: bool = True, timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root of it, over ssh as an administrator does; blocks. Raises AppiaError as `run`."""
        where = f"{self.login.user}@{self.address}"
        words = ["ssh", "-i", str(self._key), *self.ssh_options, where, self.login.as_root(line)]
        given = f"{self.login.password}\n" if self.login.password else ""
        run = subprocess.run(
            words, input=given, capture_output=True, text=True, check=False, timeout=timeout_s
        )
        if check and run.returncode != 0:
            raise AppiaError(
                f"{self.name}: {line} ended with {run.returncode}: {(run.stderr or run.stdout).strip()}"
            )
        return run

    @property
    def ssh_options(self) -> list[str]:
        """Options of ssh that let nobody else's key and nobody else's machine in."""
        known = self._key.with_name("known_hosts")
        return [
            "-o",
            f"UserKnownHostsFile={known}",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "BatchMode=yes",
            "-F",
            "none",
        ]

    def last_words(self) -> str:
        """The end of its console."""
        return self.log.read_text(errors="replace")[-1000:].strip() if self.log.exists() else ""

    def remove(self) -> None:
        """Cut its power and remove its disk."""
        self.cut_power()
        self.disk.remove()
        for top in CGROUPS:
            remove_groups(Path(top) / self.place.namespace)


def remove_groups(top: Path) -> None:
    """A group is removed when those below it are; one that still has a process stays."""
    for folder, _, _ in os.walk(top, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
