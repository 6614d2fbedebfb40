"""Three etcd members, each behind a network cable of its own where the machine allows it."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from real_etcd.certificates import make_certificates
from real_etcd.member import Member, Setup, wait_until

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 3


class Wires:
    """Network namespaces on a bridge of their own, one for each member. Needs root and iproute2."""

    def __init__(self) -> None:
        mark = os.getpid()
        self._bridge = f"ab{mark}"
        self._net = f"10.{200 + mark % 50}.{mark // 50 % 250}"
        self.spaces = [f"appia-{mark}-{number}" for number in range(SIZE)]
        self.hosts = [f"{self._net}.{11 + number}" for number in range(SIZE)]
        self.machine = f"{self._net}.1"
        """The address of this machine that they, and nobody else, can reach: it is none of loopback."""

    @staticmethod
    def possible() -> bool:
        """Whether this process may make a namespace."""
        if os.geteuid() != 0 or shutil.which("ip") is None:
            return False
        probe = f"appia-{os.getpid()}-probe"
        try:
            _ip("netns", "add", probe)
            _ip("netns", "delete", probe)
        except subprocess.CalledProcessError:
            return False
        return True

    def make(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self._net}.1/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for number, space in enumerate(self.spaces):
            _ip("netns", "add", space)
            _ip("link", "add", self._wire(number), "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", self._wire(number), "master", self._bridge, "up")
            _ip("-n", space, "address", "add", f"{self.hosts[number]}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "link", "set", "eth0", "up")

    def cut(self, number: int) -> None:
        _ip("link", "set", self._wire(number), "down")

    def join(self, number: int) -> None:
        _ip("link", "set", self._wire(number), "up")

    def remove(self) -> None:
        for space in self.spaces:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", space)
        with suppress(subprocess.CalledProcessError):
            _ip("link", "delete", self._bridge)

    def _wire(self, number: int) -> str:
        return f"{self._bridge}-{number}"


def _ip(*words: str) -> None:
    subprocess.run([shutil.which("ip") or "ip", *words], check=True, capture_output=True)


class Cluster:
    """Members that form one etcd over TLS. `wires` is None where namespaces are not possible."""

    def __init__(self, folder: Path) -> None:
        self.wires = Wires() if Wires.possible() else None
        hosts = ["127.0.0.1"] * SIZE if self.wires is None else self.wires.hosts
        self.certificates = make_certificates(folder / "certificates", hosts)
        self.members = [
            Member(folder / f"etcd-{number}", f"m{number}", self._setup(number, host))
            for number, host in enumerate(hosts)
        ]
        self._names = ",".join(f"{member.name}={member.peer}" for member in self.members)

    def _setup(self, number: int, host: str) -> Setup:
        before = () if self.wires is None else ("ip", "netns", "exec", self.wires.spaces[number])
        # Elections as on a quick network: a round is shorter.
        options = ("--heartbeat-interval", "50", "--election-timeout", "500", "--client-cert-auth")
        return Setup(host, self.certificates, before, options)

    @property
    def url(self) -> str:
        return f"etcds://{','.join(member.hostport for member in self.members)}/appia"

    def start(self) -> None:
        if self.wires is not None:
            self.wires.make()
        for member in self.members:
            member.launch(self._names)
        if not self.wait_healthy(30):
            raise AssertionError("the members found no leader")

    def wait_healthy(self, within_s: float) -> bool:
        return wait_until(lambda: all(member.healthy() for member in self.members), within_s, 0.05)

    def hurt(self, how: str, number: int) -> None:
        """Do to one member: "kill", "stop" (SIGSTOP) or "cut" (its cable)."""
        if how == "kill":
            self.members[number].kill()
        elif how == "stop" or self.wires is None:
            self.members[number].freeze()
        else:
            self.wires.cut(number)

    def heal(self, how: str, number: int) -> None:
        """Undo what `hurt` did."""
        if how == "kill":
            self.members[number].launch(self._names)
        elif how == "stop" or self.wires is None:
            self.members[number].thaw()
        else:
            self.wires.join(number)

    def remove(self) -> None:
        for member in self.members:
            member.kill()
        if self.wires is not None:
            self.wires.remove()
