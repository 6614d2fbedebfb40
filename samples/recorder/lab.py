"""A small office network of Linux namespaces: hosts, a router between inside and outside, a capture."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PREFIX = "appia-rec-"
ROUTER = f"{PREFIX}router"
INSIDE = ("inside0", ("10.20.0.1/16",))
OUTSIDE = ("outside0", ("198.51.100.1/24", "203.0.113.1/24"))
OFFLOADS = ("tso", "gso", "gro", "tx", "rx")
OUTSIDE_RATE = "40mbit"


@dataclass(frozen=True)
class Host:
    """One namespace: its short name, its addresses (the first one is its own), and the side it is on."""

    name: str
    addresses: tuple[str, ...]
    outside: bool = False

    @property
    def namespace(self) -> str:
        """Name of the network namespace."""
        return PREFIX + self.name


def call(*command: str) -> None:
    """Run a command to its end; raises RuntimeError with what it said when it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


class Lab:
    """The network while it exists: a context manager that builds it and takes it down again.

    Blocks while `ip` runs (about 50 ms a host). Needs root. When the context ends, for
    whatever reason, every process started through it is stopped and every namespace deleted.
    """

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = {host.name: host for host in hosts}
        self._running: list[subprocess.Popen[bytes]] = []
        self._namespaces: list[str] = []

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._take_down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._take_down()

    def start(self, name: str, command: Sequence[str], cwd: Path) -> subprocess.Popen[bytes]:
        """Start a program on a host, its output thrown away; it is stopped with the lab at the latest."""
        namespace = ROUTER if name == "router" else self.hosts[name].namespace
        process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *command],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._running.append(process)
        return process

    def capture(self, pcap: Path) -> subprocess.Popen[bytes]:
        """Start capturing all that crosses the inside bridge into `pcap`; stop it with `stop`."""
        bridge = INSIDE[0]
        # Without immediate mode the last second before an interrupt would be lost in the kernel's buffer.
        options = ["--immediate-mode", "-n", "-s", "0", "-B", "16384", "-Z", "root", "-w", str(pcap)]
        process = self.start(
            "router", ["tcpdump", "-i", bridge, *options, "ip and (tcp or udp)"], pcap.parent
        )
        deadline = time.monotonic() + 10
        while not pcap.exists():
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"tcpdump did not start capturing on {bridge}")
            time.sleep(0.05)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Interrupt one process and wait for it; kill it when it has not ended after five seconds."""
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _build(self) -> None:
        self._add_namespace(ROUTER)
        for bridge, addresses in (INSIDE, OUTSIDE):
            call("ip", "-n", ROUTER, "link", "add", bridge, "type", "bridge", "forward_delay", "0")
            for address in addresses:
                call("ip", "-n", ROUTER, "address", "add", address, "dev", bridge)
            call("ip", "-n", ROUTER, "link", "set", bridge, "up")
        call("ip", "netns", "exec", ROUTER, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for number, host in enumerate(self.hosts.values()):
            self._add_host(host, f"port{number}")

    def _add_namespace(self, namespace: str) -> None:
        # Only what this lab made itself is deleted in the end: another recording may be running.
        call("ip", "netns", "add", namespace)
        self._namespaces.append(namespace)

    def _add_host(self, host: Host, port: str) -> None:
        inside = ("ip", "-n", host.namespace)
        bridge, gateways = OUTSIDE if host.outside else INSIDE
        self._add_namespace(host.namespace)
        call("ip", "netns", "exec", host.namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        call(*inside, "link", "add", "uplink", "type", "veth", "peer", "name", port, "netns", ROUTER)
        for address in host.addresses:
            call(*inside, "address", "add", f"{address}/{24 if host.outside else 16}", "dev", "uplink")
        call(*inside, "link", "set", "lo", "up")
        call(*inside, "link", "set", "uplink", "up")
        call("ip", "-n", ROUTER, "link", "set", port, "master", bridge, "up")
        own_net = host.addresses[0].rsplit(".", 1)[0]
        gateway = next((g for g in gateways if g.startswith(own_net)), gateways[0])
        call(*inside, "route", "add", "default", "via", gateway.split("/")[0])
        self._plain_frames(host.namespace, "uplink")
        self._plain_frames(ROUTER, port)
        if host.outside:
            for namespace, device in ((host.namespace, "uplink"), (ROUTER, port)):
                shape = ("root", "tbf", "rate", OUTSIDE_RATE, "burst", "32kb", "latency", "60ms")
                call("ip", "netns", "exec", namespace, "tc", "qdisc", "add", "dev", device, *shape)

    def _plain_frames(self, namespace: str, device: str) -> None:
        # With segmentation offload the capture would show frames of up to 64 KiB that no wire carries.
        settings = [word for offload in OFFLOADS for word in (offload, "off")]
        call("ip", "netns", "exec", namespace, "ethtool", "-K", device, *settings)

    def _take_down(self) -> None:
        for process in reversed(self._running):
            self.stop(process)
        for namespace in self._namespaces:
            listed = subprocess.run(
                ["ip", "netns", "pids", namespace], check=False, capture_output=True, text=True
            )
            for pid in listed.stdout.split():
                with contextlib.suppress(RuntimeError):
                    call("kill", "-KILL", pid)
            call("ip", "netns", "delete", namespace)
