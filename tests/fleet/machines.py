"""Several machines on one computer: containers with a real systemd, a network between them, and ways to hurt both.

`python -m fleet.machines up NAME...` (with `tests` on the path) makes some, prints their addresses and how to log in,
and takes everything away again on Ctrl-C.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fleet.image import PACKAGES, base_image, why_not
from fleet.leftovers import KEY, SCRATCH, Claim, clear
from fleet.machine import Disk, Machine
from fleet.network import Network, Place, command

from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_PROJECT = Path(__file__).parents[2]


def project_binds() -> dict[Path, Path]:
    """What a machine has to see of this computer to run the project as it lies here: itself, its Python, its models."""
    models = Path.home() / ".local/share/appia/models"
    paths = [_PROJECT, Path(sys.base_prefix), *([models] if models.is_dir() else [])]
    return {path: path for path in paths if path != Path("/usr")}


class Machines:
    """A context: within it machines can be added; after it nothing of them is left, whatever happened.

    What a run leaves that is killed (`leftovers.py`) goes when the next one begins.

    `folder` gets their disks, the key and the known hosts. `prefix` is in every name that the system gets (bridge,
    namespaces, control groups), so that several fleets can be there at once; each has a `subnet` of its own, too,
    by default the first that nobody uses here. `packages` are those of their Debian. `scratch` is a folder that the
    run made for itself: it goes whole even where the run is killed, while of `folder` only what is theirs goes then.
    """

    def __init__(
        self,
        folder: Path,
        prefix: str = "fleet",
        subnet: str | None = None,
        image: Path | None = None,
        packages: tuple[str, ...] = PACKAGES,
        *,
        scratch: Path | None = None,
    ) -> None:
        """Raises UsageError where this computer cannot have machines."""
        if reason := why_not():
            raise UsageError(reason)
        if (folder / KEY).exists():
            raise UsageError(f"{folder} has a key for ssh already, which would be lost: name another folder.")
        self.folder, self.network = folder, Network(prefix, subnet)
        self._claim = Claim(prefix, folder, scratch)
        self._image, self._packages = image, packages
        self._all: dict[str, Machine] = {}

    def __enter__(self) -> Self:
        """Make the network and the key."""
        clear()
        self._claim.take()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._image = self._image or base_image(packages=self._packages)
            self.network.make()
        except BaseException:
            self._claim.release()
            raise
        try:
            command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fleet", "-f", str(self.key))
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Take everything away."""
        self.remove()

    @property
    def key(self) -> Path:
        """The private key with which root of every machine is reached by ssh."""
        return self.folder / KEY

    @property
    def known_hosts(self) -> Path:
        """The public keys of the machines, for ssh."""
        return self.folder / "known_hosts"

    def __getitem__(self, name: str) -> Machine:
        """The machine of that name."""
        return self._all[name]

    def __iter__(self) -> Iterator[Machine]:
        """All machines, in the order in which they were added."""
        return iter(self._all.values())

    def add(self, *names: str, binds: Mapping[Path, Path] | None = None, boot: bool = True) -> list[Machine]:
        """Make machines and switch them on, side by side; blocks until all are up."""
        made = [self._make(self.network.add(name), binds or {}) for name in names]
        self._write_hosts()
        if boot:
            with ThreadPoolExecutor(len(made)) as pool:
                list(pool.map(Machine.boot, made))
        return made

    def add_namespace(self, name: str) -> Place:
        """A place on the network without a machine: run programs of this computer in it by `ip netns exec`."""
        return self.network.add(name)

    def inventory(self, names: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """What an Ansible inventory has to say of each machine, as `host: {variable: value}`."""
        chosen = self._all if names is None else list(names)
        return {
            name: {
                "ansible_host": self[name].address,
                "ansible_user": self[name].login.user,
                "ansible_ssh_private_key_file": str(self.key),
                "ansible_ssh_common_args": " ".join(self[name].ssh_options),
                "ansible_python_interpreter": "/usr/bin/python3",
            }
            for name in chosen
        }

    def restore(self) -> None:
        """End what was done to them: every cable is plugged, nobody is parted, and who was off is on again."""
        self.network.mend()
        for name in self.network.places:
            self.network.plug(name)
        for machine in self:
            if not machine.is_on():
                machine.boot()

    def remove(self) -> None:
        """Switch everything off and take it away; a second Ctrl-C does not keep it from that."""
        before = None
        if threading.current_thread() is threading.main_thread():
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for machine in self._all.values():
                machine.remove()
            self.network.remove()
            for path in (self.key, self.key.with_suffix(".pub"), self.known_hosts):
                path.unlink(missing_ok=True)
            self._claim.release()
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)

    def _make(self, place: Place, binds: Mapping[Path, Path]) -> Machine:
        assert self._image is not None
        machine = Machine(place, Disk(self._image, self.folder / "machines" / place.name), self.key, binds)
        self._all[place.name] = machine
        machine.disk.mount()
        self._furnish(machine)
        return machine

    def _furnish(self, machine: Machine) -> None:
        """Give a new disk a name, the keys of its sshd, and the key of who may log in."""
        etc, home = machine.root / "etc", machine.root / "root/.ssh"
        (etc / "hostname").write_text(f"{machine.name}\n")
        (etc / "machine-id").write_text("uninitialized\n")
        # Its address is given from outside; networkd would wait for one of its own, and with it network-online.target.
        (etc / "systemd/system/systemd-networkd-wait-online.service").symlink_to("/dev/null")
        host_key = etc / "ssh/ssh_host_ed25519_key"
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", machine.name, "-f", str(host_key))
        home.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(self.key.with_suffix(".pub"), home / "authorized_keys")
        kind, public, *_ = host_key.with_suffix(".pub").read_text().split()
        with self.known_hosts.open("a") as known:
            known.write(f"{machine.address} {kind} {public}\n")

    def _write_hosts(self) -> None:
        """Let every machine know every other by its name."""
        lines = [f"{place.address} {name}\n" for name, place in self.network.places.items()]
        for machine in self._all.values():
            (machine.root / "etc/hosts").write_text("127.0.0.1 localhost\n" + "".join(lines))


def main(arguments: Sequence[str] | None = None) -> int:
    """Make machines for somebody to work on."""
    parser = argparse.ArgumentParser(
        "fleet.machines", description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("command", choices=["up"], help="make machines, and wait for Ctrl-C")
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument(
        "--prefix", default="fleet", help="what the names of bridge and namespaces begin with"
    )
    parser.add_argument("--subnet", help="addresses, as 10.77.0.0/24; by default ones that are free")
    parser.add_argument("--folder", type=Path, help="for disks and keys; by default a new temporary one")
    parser.add_argument(
        "--project", action="store_true", help="let them see this project, its Python and models"
    )
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as scratch:
        try:
            _stay(chosen, Path(scratch))
        except AppiaError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        except KeyboardInterrupt:
            return 0
    return 0


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _stay(chosen: argparse.Namespace, scratch: Path) -> None:
    with Machines(chosen.folder or scratch, chosen.prefix, chosen.subnet, scratch=scratch) as machines:
        for machine in machines.add(*chosen.names, binds=project_binds() if chosen.project else None):
            login = " ".join(
                ["ssh", "-i", str(machines.key), *machine.ssh_options, f"root@{machine.address}"]
            )
            sys.stdout.write(f"{machine.name}\t{machine.address}\tpid {machine.pid}\n  {login}\n")
        sys.stdout.write("Ctrl-C takes them away.\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
